/* drover lease list. */
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/table.h"

static const struct table_column columns[] = {
    {"VM", TABLE_LEFT},
    {"DATASTORE", TABLE_LEFT},
    {"KIND", TABLE_LEFT},
    {"EPOCH", TABLE_RIGHT},
    {"OWNER", TABLE_LEFT},
    {"LIFE", TABLE_LEFT, true},
    {"HEARTBEAT", TABLE_RIGHT, true},
    {"DEADLINE", TABLE_RIGHT, true},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* "0.4 s ago"; empty where there is none. */
static void format_age(const json_t *lease, char text[FIELD_SIZE])
{
    const json_t *age = json_object_get(lease, "heartbeat_age_ms");
    text[0] = '\0';
    if (json_is_number(age)) {
        snprintf(text, FIELD_SIZE, "%.1f s ago", json_number_value(age) / 1000);
    }
}

/* "in 4.6 s", or how long ago it was. */
static void format_deadline(const json_t *lease, char text[FIELD_SIZE])
{
    const json_t *left = json_object_get(lease, "deadline_ms");
    text[0] = '\0';
    if (json_is_number(left)) {
        double seconds = json_number_value(left) / 1000;
        snprintf(text, FIELD_SIZE, seconds > 0 ? "in %.1f s" : "%.1f s ago",
                 seconds > 0 ? seconds : -seconds);
    }
}

static int add_lease(struct table *table, const json_t *lease)
{
    char epoch[FIELD_SIZE];
    char age[FIELD_SIZE];
    char deadline[FIELD_SIZE];
    const char *cells[COLUMNS] = {
        field_text(lease, "vm"),
        field_text(lease, "datastore"),
        field_text(lease, "kind"),
        field_count(lease, "epoch", epoch),
        field_text(lease, "owner"),
        field_text(lease, "life"),
        age,
        deadline,
    };
    format_age(lease, age);
    format_deadline(lease, deadline);
    return table_add(table, cells);
}

int lease_list_command(struct cli *cli, struct error *err)
{
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = COLUMNS};
    CLEANUP_JSON json_t *answer = NULL;
    json_t *leases;
    size_t index;
    const json_t *lease;
    int result = api_get(cli->api, "/v1/leases", &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    if (json_get_array_or_empty(answer, "the agent's answer", "leases", &leases, err) < 0) {
        err->code = EPROTO;
        return -EPROTO;
    }
    json_array_foreach (leases, index, lease) {
        if (add_lease(&table, lease) < 0) {
            return error_set_errno(err, ENOMEM, "cannot print the list");
        }
    }
    table_print(&table, &cli->output, 0);
    return 0;
}
