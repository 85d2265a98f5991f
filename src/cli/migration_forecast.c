/* The forecast of a migration, before it and beside the facts: see migration.h. */
#include <stdio.h>
#include <string.h>

#include "cli/fields.h"
#include "cli/migration.h"
#include "cli/table.h"

#define LABEL_COLUMNS 19
#define VALUE_COLUMNS 10
#define REMARK_COLUMN (2 + LABEL_COLUMNS + 1 + VALUE_COLUMNS + 2)

/* ---- before ---- */

/* One line; `remark` may be empty, and is wrapped. */
static void print_line(const struct terminal *terminal, const char *label, const char *value,
                       const char *remark)
{
    fprintf(terminal->stream, "  %-*s %*s", LABEL_COLUMNS, label, VALUE_COLUMNS, value);
    if (!remark[0]) {
        fputc('\n', terminal->stream);
        return;
    }
    fputs("  ", terminal->stream);
    terminal_print_wrapped(terminal, remark, REMARK_COLUMN, REMARK_COLUMN,
                           terminal_columns(terminal));
}

static void print_memory(const struct terminal *terminal, const json_t *forecast)
{
    char data[FIELD_SIZE];
    char all[FIELD_SIZE];
    char remark[128];
    field_size(forecast, "memory_bytes", all);
    double packed = field_real(forecast, "packed_share");
    int used = snprintf(remark, sizeof(remark), "of %s, without zeroes", all);
    if (packed > 0 && packed < 0.95) {
        snprintf(remark + used, sizeof(remark) - (size_t)used, "; compresses to %.0f%%",
                 packed * 100);
    }
    print_line(terminal, "memory in use", field_size(forecast, "memory_data", data), remark);
}

static void print_writing(const struct terminal *terminal, const json_t *forecast)
{
    char rate[FIELD_SIZE];
    char always[FIELD_SIZE];
    char remark[128] = "";
    if (field_number(forecast, "dirty_always") > 0) {
        snprintf(remark, sizeof(remark), "%s of it written all the time",
                 field_size(forecast, "dirty_always", always));
    }
    print_line(terminal, "guest dirties", field_rate(forecast, "dirty_rate", rate), remark);
}

static void print_link(const struct terminal *terminal, const json_t *forecast, const char *to)
{
    char rate[FIELD_SIZE];
    char remark[128];
    const char *source = field_text(forecast, "link_rate_source");
    if (strcmp(source, "measured") == 0) {
        snprintf(remark, sizeof(remark), "measured in the last moves to %s", to);
    } else if (strcmp(source, "interface") == 0) {
        snprintf(remark, sizeof(remark), "as the network interface says");
    } else {
        snprintf(remark, sizeof(remark), "assumed: no move to %s was measured", to);
    }
    print_line(terminal, "link carries", field_rate(forecast, "link_rate", rate), remark);
}

static void print_pacing(const struct terminal *terminal, const json_t *forecast)
{
    char duration[FIELD_SIZE];
    char remark[128];
    if (!json_is_true(json_object_get(forecast, "paced"))) {
        return;
    }
    snprintf(remark, sizeof(remark), "the guest loses about %.0f%% of its writing meanwhile",
             field_real(forecast, "writing_lost_pct"));
    print_line(terminal, "writers slowed for", field_milliseconds(forecast, "paced_ms", duration),
               remark);
}

static void print_outcome(const struct terminal *terminal, const json_t *forecast)
{
    char text[FIELD_SIZE];
    bool ends = json_is_number(json_object_get(forecast, "duration_ms"));
    bool short_enough = json_is_true(json_object_get(forecast, "keeps_blackout"));
    print_line(terminal, "rounds", field_count(forecast, "rounds", text), "");
    print_line(terminal, "total time",
               ends ? field_milliseconds(forecast, "duration_ms", text) : "-",
               ends ? "" : "it would not come to an end");
    print_line(terminal, "blackout", field_milliseconds(forecast, "blackout_ms", text),
               short_enough ? "" : "longer than its target");
    print_line(terminal, "bytes to send", field_size(forecast, "bytes", text), "");
    print_pacing(terminal, forecast);
    fprintf(terminal->stream, "  %-*s  %s\n", LABEL_COLUMNS, "limited by",
            field_text(forecast, "limited_by"));
}

void migration_print_forecast(const struct terminal *terminal, const json_t *forecast,
                              const char *vm, const char *to)
{
    char text[1024];
    char problem[768];
    char watched[FIELD_SIZE];
    if (!json_is_object(forecast)) {
        return;
    }
    fputc('\n', terminal->stream);
    if (field_text(forecast, "problem")[0]) {
        text_clean(field_text(forecast, "problem"), problem, sizeof(problem));
        snprintf(text, sizeof(text), "No forecast: %s", problem);
        terminal_print_wrapped(terminal, text, 0, 0, terminal_columns(terminal));
        return;
    }
    fprintf(terminal->stream, "%sForecast%s, from watching %s for %s:\n",
            terminal_begin(terminal, TERMINAL_BOLD), terminal_begin(terminal, TERMINAL_PLAIN), vm,
            field_milliseconds(forecast, "sampled_ms", watched));
    print_memory(terminal, forecast);
    print_writing(terminal, forecast);
    print_link(terminal, forecast, to);
    print_outcome(terminal, forecast);
}

/* ---- afterwards ---- */

static const struct table_column accuracy_columns[] = {
    {"", TABLE_LEFT},
    {"FORECAST", TABLE_RIGHT},
    {"FACT", TABLE_RIGHT},
};

static int add_row(struct table *table, const char *label, const char *forecast, const char *fact)
{
    const char *cells[] = {label, forecast, fact};
    return table_add(table, cells);
}

static int add_rows(struct table *table, const json_t *forecast, const json_t *report)
{
    char expected[FIELD_SIZE];
    char fact[FIELD_SIZE];
    snprintf(fact, sizeof(fact), "%zu", json_array_size(json_object_get(report, "rounds")));
    int result = add_row(table, "rounds", field_count(forecast, "rounds", expected), fact);
    if (result == 0) {
        result = add_row(table, "total time", field_milliseconds(forecast, "duration_ms", expected),
                         field_milliseconds(report, "total_ms", fact));
    }
    if (result == 0) {
        result = add_row(table, "blackout", field_milliseconds(forecast, "blackout_ms", expected),
                         field_milliseconds(report, "blackout_ms", fact));
    }
    return result < 0 ? result
                      : add_row(table, "sent in all", field_size(forecast, "bytes", expected),
                                field_size(report, "bytes", fact));
}

int migration_print_accuracy(const struct terminal *terminal, const json_t *report)
{
    CLEANUP_TABLE struct table table = {.columns = accuracy_columns,
                                        .column_count =
                                            sizeof(accuracy_columns) / sizeof(accuracy_columns[0])};
    const json_t *forecast = json_object_get(report, "forecast");
    if (!json_is_object(forecast) || field_text(forecast, "problem")[0]) {
        return 0;
    }
    int result = add_rows(&table, forecast, report);
    if (result == 0) {
        fputc('\n', terminal->stream);
        table_print(&table, terminal, 2);
    }
    return result;
}
