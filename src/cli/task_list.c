/* drover task list. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/table.h"
#include "cli/task.h"

static const struct table_column columns[] = {
    {"ID", TABLE_LEFT},
    {"KIND", TABLE_LEFT},
    {"VM", TABLE_LEFT},
    {"STATE", TABLE_LEFT},
    {"PHASE", TABLE_LEFT},
    {"DONE", TABLE_RIGHT},
    {"STARTED (UTC)", TABLE_LEFT},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* "2026-11-21T08:00:04.210Z" as "2026-11-21 08:00:04". */
static void format_time(const char *stamp, char text[FIELD_SIZE])
{
    snprintf(text, FIELD_SIZE, "%.19s", stamp);
    char *separator = strchr(text, 'T');
    if (separator) {
        *separator = ' ';
    }
}

static int add_task(struct table *table, const json_t *task)
{
    char id[TASK_ID_SHOWN + 1];
    char done[FIELD_SIZE];
    char started[FIELD_SIZE];
    snprintf(id, sizeof(id), "%s", field_text(task, "id"));
    format_time(field_text(task, "started_at"), started);
    double fraction = field_real(task, "fraction");
    snprintf(done, sizeof(done), "%.0f%%", (fraction < 1 ? fraction : 1) * 100);
    const char *cells[COLUMNS] = {
        id,
        field_text(task, "kind"),
        field_text(task, "vm"),
        field_text(task, "state"),
        field_text(task, "phase"),
        done,
        started,
    };
    return table_add(table, cells);
}

int task_list_command(struct cli *cli, struct error *err)
{
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = COLUMNS};
    CLEANUP_JSON json_t *answer = NULL;
    json_t *tasks;
    size_t index;
    const json_t *task;
    int result = api_get(cli->api, "/v1/tasks", &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    if (json_get_array_or_empty(answer, "the agent's answer", "tasks", &tasks, err) < 0) {
        err->code = EPROTO;
        return -EPROTO;
    }
    json_array_foreach (tasks, index, task) {
        if (add_task(&table, task) < 0) {
            return error_set_errno(err, ENOMEM, "cannot print the list");
        }
    }
    table_print(&table, &cli->output, 0);
    return 0;
}
