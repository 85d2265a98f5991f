/* drover task show: a task, and the report of a migration. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/migration.h"
#include "cli/output.h"
#include "cli/task.h"

static void print_task(const struct terminal *output, const json_t *task)
{
    const json_t *failure = json_object_get(task, "error");
    output_text(output, "task", task, "id");
    output_text(output, "kind", task, "kind");
    output_text(output, "VM", task, "vm");
    output_text(output, "state", task, "state");
    output_text(output, "phase", task, "phase");
    output_text(output, "waits", task, "waiting");
    output_text(output, "started", task, "started_at");
    output_text(output, "ended", task, "ended_at");
    output_text(output, "error", failure, "message");
    output_text(output, "remedy", failure, "remedy");
}

int task_show_command(struct cli *cli, struct error *err)
{
    CLEANUP_JSON json_t *task = NULL;
    char id[TASK_ID_SIZE];
    if (task_find(cli, 0, id, err) < 0) {
        return -err->code;
    }
    CLEANUP_FREE char *path = file_path("/v1/tasks/%s", id);
    int result = path ? api_get(cli->api, path, &task, err)
                      : error_set_errno(err, ENOMEM, "cannot show task %s", id);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, task, err);
    }
    print_task(&cli->output, task);
    if (json_is_object(json_object_get(task, "report"))) {
        fputc('\n', cli->output.stream);
    }
    return migration_print_report(&cli->output, task, err);
}
