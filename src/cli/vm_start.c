/* drover vm start: waits until the guest runs. */
#include "base/cleanup.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/task.h"

int vm_start_command(struct cli *cli, struct error *err)
{
    const char *name;
    if (command_name(cli, 0, "VM", &name, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/vms/%s/start", name);
    return path ? task_run(cli, path, NULL, name, "started", err)
                : error_set_errno(err, ENOMEM, "cannot start %s", name);
}
