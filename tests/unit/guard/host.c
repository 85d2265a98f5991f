/* See host.h. */
#include "test.h"

#include "base/file.h"
#include "base/json.h"
#include "host.h"

void host_record_machine(const char *run_folder, const char *datastore_uuid, int number,
                         const struct process_identity *process)
{
    char folder[256];
    char path[300];
    snprintf(folder, sizeof(folder), "%s/vms/5d9c1f0a-0000-4000-8000-00000000000%d", run_folder,
             number);
    snprintf(path, sizeof(path), "%s/state.json", folder);
    json_t *record = json_pack("{s:{s:s}, s:{s:s}, s:{s:i, s:I}}", "vm", "name", "sleeper",
                               "datastore", "uuid", datastore_uuid, "process", "pid",
                               (int)process->pid, "start_time", (json_int_t)process->start_time);
    assert_int_equal(file_make_folders(folder, 0755, NULL), 0);
    assert_int_equal(json_write_file(path, record, 0600, NULL), 0);
    json_decref(record);
}

struct process_identity host_start_machine(const char *run_folder, const char *datastore_uuid,
                                           int number)
{
    static const char *const arguments[] = {"sleep", "600", NULL};
    const struct process_spec spec = {.arguments = arguments};
    struct process_identity process;
    assert_int_equal(process_start(&spec, &process, NULL), 0);
    host_record_machine(run_folder, datastore_uuid, number, &process);
    return process;
}

void host_end_machine(const struct process_identity *machine)
{
    assert_int_equal(process_kill(machine, NULL), 0);
}
