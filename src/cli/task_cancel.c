/* drover task cancel: asks, and does not wait. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/task.h"

int task_cancel_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    char id[TASK_ID_SIZE];
    if (task_find(cli, 0, id, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/tasks/%s/cancel", id);
    int result = path ? api_call(cli->api, "POST", path, NULL, API_SECONDS, &answer, err)
                      : error_set_errno(err, ENOMEM, "cannot cancel task %s", id);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    fprintf(cli->output.stream, "task %s was asked to give up\n", id);
    return 0;
}
