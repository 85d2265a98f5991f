/* The report of a migration: see migration.h. */
#include <stdio.h>
#include <string.h>

#include "cli/fields.h"
#include "cli/migration.h"
#include "cli/table.h"

#define PAGE_SIZE 4096

static const struct table_column round_columns[] = {
    {"ROUND", TABLE_RIGHT}, {"TO SEND", TABLE_RIGHT}, {"SENT", TABLE_RIGHT},
    {"ZERO", TABLE_RIGHT},  {"TIME", TABLE_RIGHT},    {"DIRTIED MEANWHILE", TABLE_RIGHT},
};

#define ROUND_COLUMNS (sizeof(round_columns) / sizeof(round_columns[0]))

static int add_round(struct table *table, const json_t *round)
{
    char text[ROUND_COLUMNS][FIELD_SIZE];
    json_t *zero = json_pack("{s:f}", "bytes", field_real(round, "pages_zero") * PAGE_SIZE);
    const char *cells[ROUND_COLUMNS] = {
        field_count(round, "number", text[0]),
        field_size(round, "bytes_to_send", text[1]),
        field_size(round, "bytes_sent", text[2]),
        field_size(zero, "bytes", text[3]),
        field_milliseconds(round, "duration_ms", text[4]),
        field_size(round, "bytes_dirtied", text[5]),
    };
    int result = table_add(table, cells);
    json_decref(zero);
    return result;
}

static int print_rounds(const struct terminal *terminal, const json_t *report)
{
    CLEANUP_TABLE struct table table = {.columns = round_columns, .column_count = ROUND_COLUMNS};
    size_t index;
    const json_t *round;
    json_array_foreach (json_object_get(report, "rounds"), index, round) {
        int result = add_round(&table, round);
        if (result < 0) {
            return result;
        }
    }
    if (table.row_count > 0) {
        table_print(&table, terminal, 2);
        fputc('\n', terminal->stream);
    }
    return 0;
}

static void print_headline(const struct terminal *terminal, const json_t *task,
                           const json_t *report)
{
    char vm[64];
    char from[64];
    char to[64];
    char duration[FIELD_SIZE];
    bool moved = strcmp(field_text(report, "outcome"), "moved") == 0;
    text_clean(field_text(task, "vm"), vm, sizeof(vm));
    text_clean(field_text(report, "from"), from, sizeof(from));
    text_clean(field_text(report, "to"), to, sizeof(to));
    field_milliseconds(report, moved ? "blackout_ms" : "total_ms", duration);
    fputs(terminal_begin(terminal, TERMINAL_BOLD), terminal->stream);
    if (moved) {
        fprintf(terminal->stream, "%s moved from %s to %s, stopped for %s", vm, from, to, duration);
    } else {
        fprintf(terminal->stream, "%s stayed on %s: the move to %s ended after %s", vm, from, to,
                duration);
    }
    fprintf(terminal->stream, "%s\n\n", terminal_begin(terminal, TERMINAL_PLAIN));
}

/* One line of the summary; nothing for a field that is missing or null. */
static void print_duration(const struct terminal *terminal, const char *label, const json_t *object,
                           const char *key, const char *remark)
{
    char text[FIELD_SIZE];
    if (json_is_number(json_object_get(object, key))) {
        fprintf(terminal->stream, "  %-20s %9s%s\n", label, field_milliseconds(object, key, text),
                remark);
    }
}

static void print_blackout(const struct terminal *terminal, const json_t *report)
{
    static const struct {
        const char *key;
        const char *label;
    } parts[] = {{"last_pass_ms", "  last pass"},
                 {"save_state_ms", "  save device state"},
                 {"load_state_ms", "  load device state"},
                 {"commit_ms", "  commit"},
                 {"run_ms", "  run over there"}};
    char predicted[FIELD_SIZE];
    char remark[64] = "";
    if (field_real(report, "blackout_ms") == 0) {
        fprintf(terminal->stream, "  %-20s %9s\n", "blackout", "none");
        return;
    }
    if (json_is_number(json_object_get(report, "predicted_blackout_ms"))) {
        snprintf(remark, sizeof(remark), "  (predicted: %s)",
                 field_milliseconds(report, "predicted_blackout_ms", predicted));
    }
    print_duration(terminal, "blackout", report, "blackout_ms", remark);
    const json_t *measured = json_object_get(report, "blackout_parts");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        print_duration(terminal, parts[i].label, measured, parts[i].key, "");
    }
    print_duration(terminal, "the guest's own view", report, "guest_stopped_ms",
                   "  (its clock's gap)");
}

/* One line with a size; nothing for none. */
static void print_size(const struct terminal *terminal, const char *label, const json_t *object,
                       const char *key, const char *remark)
{
    char text[FIELD_SIZE];
    if (field_number(object, key) > 0) {
        fprintf(terminal->stream, "  %-20s %9s%s\n", label, field_size(object, key, text), remark);
    }
}

/* What compression made of the content, where there was any. */
static void print_compression(const struct terminal *terminal, const json_t *report)
{
    static const struct {
        const char *key;
        const char *label;
    } methods[] = {{"lz4_bytes", "  as lz4"},
                   {"zstd_bytes", "  as zstd"},
                   {"delta_bytes", "  as differences"}};
    const json_t *compressed = json_object_get(report, "compressed");
    double content = field_real(report, "content_bytes");
    double sent = field_real(report, "bytes") - field_real(report, "device_state_bytes");
    char remark[64] = "";
    double packed = 0;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        packed += field_real(compressed, methods[i].key);
    }
    if (packed == 0 || content == 0) {
        return;
    }
    if (sent < content) {
        snprintf(remark, sizeof(remark), "  (%.0f %% saved by compression)",
                 100 * (content - sent) / content);
    }
    print_size(terminal, "memory content", report, "content_bytes", remark);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        print_size(terminal, methods[i].label, compressed, methods[i].key, "");
    }
}

static void print_pacing(const struct terminal *terminal, const json_t *report)
{
    char waited[FIELD_SIZE];
    char remark[64] = "  (nobody had to wait)";
    if (field_real(report, "writers_waited_ms") > 0) {
        snprintf(remark, sizeof(remark), "  (writers waited %s, all vCPUs together)",
                 field_milliseconds(report, "writers_waited_ms", waited));
    }
    if (field_real(report, "paced_ms") > 0) {
        print_duration(terminal, "writers paced for", report, "paced_ms", remark);
    }
}

/* What carried it: told where there is something to tell. */
static void print_engine(const struct terminal *terminal, const json_t *report)
{
    char engine[16];
    char channels[FIELD_SIZE];
    char reason[256];
    text_clean(field_text(report, "engine"), engine, sizeof(engine));
    text_clean(field_text(report, "engine_reason"), reason, sizeof(reason));
    if (field_number(report, "channels") > 1) {
        fprintf(terminal->stream, "  %-20s %9s\n", "connections",
                field_count(report, "channels", channels));
    }
    if (engine[0]) {
        fprintf(terminal->stream, "  %-20s %9s%s\n", "engine", engine,
                strcmp(engine, "native") == 0 ? "  (QEMU's own migration)" : "");
    }
    if (reason[0]) {
        fprintf(terminal->stream, "  %-20s %s\n", "", reason);
    }
}

static void print_encryption(const struct terminal *terminal, const json_t *report)
{
    char cipher[64];
    const char *encryption = field_text(report, "encryption");
    text_clean(field_text(report, "cipher"), cipher, sizeof(cipher));
    if (strcmp(encryption, "tls13") == 0) {
        bool by_kernel = strcmp(field_text(report, "encryption_by"), "kernel") == 0;
        fprintf(terminal->stream, "  %-20s %9s  (%s%s)\n", "encryption", "TLS 1.3", cipher,
                by_kernel ? ", by the kernel" : "");
    } else if (strcmp(encryption, "none") == 0) {
        fprintf(terminal->stream, "  %-20s %9s  (the memory travelled in clear)\n", "encryption",
                "none");
    }
}

static void print_bytes(const struct terminal *terminal, const json_t *report)
{
    char bytes[FIELD_SIZE];
    char device[FIELD_SIZE];
    fprintf(terminal->stream, "  %-20s %9s", "sent in all", field_size(report, "bytes", bytes));
    if (json_is_number(json_object_get(report, "device_state_bytes"))) {
        fprintf(terminal->stream, "  (%s of it device state)",
                field_size(report, "device_state_bytes", device));
    }
    fputc('\n', terminal->stream);
}

int migration_print_report(const struct terminal *terminal, const json_t *task, struct error *err)
{
    const json_t *report = json_object_get(task, "report");
    if (!json_is_object(report)) {
        return 0;
    }
    print_headline(terminal, task, report);
    if (print_rounds(terminal, report) < 0) {
        return error_set_errno(err, ENOMEM, "cannot print the report");
    }
    print_blackout(terminal, report);
    print_compression(terminal, report);
    print_bytes(terminal, report);
    print_size(terminal, "kept for the end", report, "deferred_bytes",
               "  (written all the time, so sent once)");
    print_pacing(terminal, report);
    print_engine(terminal, report);
    print_encryption(terminal, report);
    print_duration(terminal, "total time", report, "total_ms", "");
    return migration_print_accuracy(terminal, report) < 0
               ? error_set_errno(err, ENOMEM, "cannot print the report")
               : 0;
}
