/* drover ca list: whom the authority gave certificates. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/fields.h"
#include "cli/output.h"
#include "cli/table.h"

static const struct table_column columns[] = {
    {"NAME", TABLE_LEFT},  {"ROLE", TABLE_LEFT},   {"ENDS", TABLE_LEFT},
    {"STATE", TABLE_LEFT}, {"SERIAL", TABLE_LEFT},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))
#define SHORT_SERIAL 12
#define DATE_LENGTH 16 /* "2026-11-21T08:00" */

static void format_end(const json_t *entry, char text[32])
{
    clock_format_utc(field_number(entry, "not_after") * NANOSECONDS_PER_SECOND, text);
    text[DATE_LENGTH] = '\0';
    text[strcspn(text, "T")] = ' ';
}

static int add_certificate(struct table *table, const json_t *entry)
{
    char end[32];
    char serial[SHORT_SERIAL + 1];
    format_end(entry, end);
    snprintf(serial, sizeof(serial), "%s", field_text(entry, "serial"));
    bool revoked = json_is_integer(json_object_get(entry, "revoked_at"));
    const char *cells[COLUMNS] = {field_text(entry, "name"), field_text(entry, "role"), end,
                                  revoked ? "revoked" : "good", serial};
    return table_add(table, cells);
}

int ca_list_command(struct cli *cli, struct error *err)
{
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = COLUMNS};
    CLEANUP_JSON json_t *answer = NULL;
    json_t *certificates;
    size_t index;
    const json_t *entry;
    int result = api_get(cli->api, "/v1/ca/certificates", &answer, err);
    if (result < 0 || cli->json) {
        return result < 0 ? result : command_print_json(cli, answer, err);
    }
    if (json_get_array_or_empty(answer, "the agent's answer", "certificates", &certificates, err) <
        0) {
        err->code = EPROTO;
        return -EPROTO;
    }
    json_array_foreach (certificates, index, entry) {
        if (add_certificate(&table, entry) < 0) {
            return error_set_errno(err, ENOMEM, "cannot print the list");
        }
    }
    table_print(&table, &cli->output, 0);
    if (strcmp(field_text(answer, "stage"), "single") != 0) {
        fprintf(cli->notes.stream, "a rollover is under way: %s\n", field_text(answer, "stage"));
    }
    return 0;
}
