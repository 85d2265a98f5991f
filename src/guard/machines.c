/* Machines on this host: see machines.h. */
#include "guard/machines.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/uuid.h"

#define RECORD_BYTES_MOST ((size_t)256 << 10)

/* What counts of src/agent/vm/record.h's state.json. */
struct machine {
    char name[64];
    char datastore_uuid[UUID_TEXT_SIZE];
    struct process_identity process;
};

typedef void machine_visit_function(const struct machine *machine);

static void copy_text(const json_t *object, const char *key, char *text, size_t size)
{
    const char *value = json_string_value(json_object_get(object, key));
    snprintf(text, size, "%s", value ? value : "");
}

static void read_machine(const json_t *record, struct machine *machine)
{
    const json_t *process = json_object_get(record, "process");
    copy_text(json_object_get(record, "vm"), "name", machine->name, sizeof(machine->name));
    copy_text(json_object_get(record, "datastore"), "uuid", machine->datastore_uuid,
              sizeof(machine->datastore_uuid));
    machine->process = (struct process_identity){
        .pid = (pid_t)json_integer_value(json_object_get(process, "pid")),
        .start_time = (uint64_t)json_integer_value(json_object_get(process, "start_time"))};
}

/* False for what does not run: nobody's, ended, or not started yet. */
static bool find_machine(const char *run_folder, const char *uuid, struct machine *machine)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = file_path("%s/vms/%s/state.json", run_folder, uuid);
    CLEANUP_JSON json_t *record = path ? json_read_file(path, RECORD_BYTES_MOST, &err) : NULL;
    if (!record) {
        if (err.code != ENOENT) {
            log_warning("machine %s: %s", uuid, path ? err.message : "no memory");
        }
        return false;
    }
    read_machine(record, machine);
    return process_is_alive(&machine->process);
}

static size_t visit_machines(const char *run_folder, const char *datastore_uuid,
                             machine_visit_function *visit)
{
    size_t count = 0;
    CLEANUP_FREE char *path = file_path("%s/vms", run_folder);
    CLEANUP_DIRECTORY DIR *folder = path ? opendir(path) : NULL;
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        struct machine machine;
        if (uuid_is_valid(entry->d_name) && find_machine(run_folder, entry->d_name, &machine) &&
            (!datastore_uuid || strcmp(machine.datastore_uuid, datastore_uuid) == 0)) {
            count++;
            visit(&machine);
        }
    }
    return count;
}

static void leave_alone(const struct machine *machine)
{
    (void)machine;
}

static void kill_machine(const struct machine *machine)
{
    struct error err = ERROR_NONE;
    int result = process_signal(&machine->process, SIGKILL, &err);
    if (result < 0 && result != -ESRCH) {
        log_error("machine %s: %s", machine->name, err.message);
    } else if (result == 0) {
        log_error("machine %s, process %d, is killed: its deadline has passed", machine->name,
                  (int)machine->process.pid);
    }
}

size_t machines_count(const char *run_folder, const char *datastore_uuid)
{
    return visit_machines(run_folder, datastore_uuid, leave_alone);
}

size_t machines_kill(const char *run_folder, const char *datastore_uuid)
{
    return visit_machines(run_folder, datastore_uuid, kill_machine);
}
