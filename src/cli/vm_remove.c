/* drover vm rm: the only command that destroys data, so it asks. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"

const struct option_spec vm_remove_options[] = {
    {"--yes", NULL, "do not ask"},
    {NULL},
};

static int confirm(const struct cli *cli, const char *name, struct error *err)
{
    char answer[16];
    if (arguments_has(&cli->arguments, "--yes")) {
        return 0;
    }
    if (!isatty(STDIN_FILENO)) {
        error_set(err, EINVAL, "nobody is there to ask whether %s may be removed", name);
        return error_remedy(err, "add --yes");
    }
    fprintf(cli->notes.stream, "Remove %s and its disks for good? [y/N] ", name);
    fflush(cli->notes.stream);
    if (fgets(answer, sizeof(answer), stdin) && strchr("yY", answer[0])) {
        return 0;
    }
    return error_set(err, ECANCELED, "%s was not removed", name);
}

int vm_remove_command(struct cli *cli, struct error *err)
{
    const char *name;
    if (command_name(cli, 0, "VM", &name, err) < 0 || confirm(cli, name, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/vms/%s", name);
    int result = path ? api_call(cli->api, "DELETE", path, NULL, API_SECONDS, NULL, err)
                      : error_set_errno(err, ENOMEM, "cannot remove %s", name);
    if (result < 0) {
        return result;
    }
    if (cli->json) {
        CLEANUP_JSON json_t *answer = json_pack("{s:s}", "removed", name);
        return command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream, "%s removed\n", name);
    return 0;
}
