/* drover vm stop: the ACPI power button, or at once; waits until the guest has stopped. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/task.h"

#define TIMEOUT_SECONDS_MOST 86400 /* a day */

const struct option_spec vm_stop_options[] = {
    {"--force", NULL, "switch it off at once; what it has not written is lost"},
    {"--timeout", "SECONDS", "how long it may take to shut down (60)"},
    {NULL},
};

int vm_stop_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *request = NULL;
    const char *name;
    int64_t timeout_s = 60;
    if (command_name(cli, 0, "VM", &name, err) < 0 ||
        arguments_integer(&cli->arguments, "--timeout", 1, TIMEOUT_SECONDS_MOST, &timeout_s, err) <
            0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/vms/%s/stop", name);
    request = json_pack("{s:b,s:I}", "force", arguments_has(&cli->arguments, "--force"),
                        "timeout_s", (json_int_t)timeout_s);
    return path && request ? task_run(cli, path, request, name, "stopped", err)
                           : error_set_errno(err, ENOMEM, "cannot stop %s", name);
}
