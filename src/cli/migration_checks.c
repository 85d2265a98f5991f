/* The lines of a dry run: see migration.h. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/fields.h"
#include "cli/migration.h"

#define MESSAGE_COLUMN 7

enum check_level { CHECK_OK, CHECK_WARN, CHECK_BLOCK, CHECK_LEVELS };

static const struct {
    const char *name;
    const char *label;
    enum terminal_colour colour;
} levels[CHECK_LEVELS] = {
    [CHECK_OK] = {"ok", "OK", TERMINAL_GREEN},
    [CHECK_WARN] = {"warn", "WARN", TERMINAL_YELLOW},
    [CHECK_BLOCK] = {"block", "BLOCK", TERMINAL_RED},
};

static enum check_level level_of(const json_t *check)
{
    const char *name = field_text(check, "level");
    for (int level = 0; level < CHECK_LEVELS; level++) {
        if (strcmp(levels[level].name, name) == 0) {
            return (enum check_level)level;
        }
    }
    return CHECK_BLOCK;
}

static void print_check(const struct terminal *terminal, const json_t *check,
                        enum check_level level)
{
    char text[2048];
    char what[128];
    char message[1024];
    char remedy[1024];
    unsigned columns = terminal_columns(terminal);
    text_clean(field_text(check, "what"), what, sizeof(what));
    text_clean(field_text(check, "message"), message, sizeof(message));
    text_clean(field_text(check, "remedy"), remedy, sizeof(remedy));
    fprintf(terminal->stream, "%s%-5s%s  ", terminal_begin(terminal, levels[level].colour),
            levels[level].label, terminal_begin(terminal, TERMINAL_PLAIN));
    snprintf(text, sizeof(text), "%s%s%s", what, what[0] ? ": " : "", message);
    terminal_print_wrapped(terminal, text, MESSAGE_COLUMN, MESSAGE_COLUMN, columns);
    if (remedy[0]) {
        const char *arrow = terminal->utf8 ? "→ " : "-> ";
        unsigned indent = MESSAGE_COLUMN + (unsigned)text_width(arrow);
        fprintf(terminal->stream, "%*s%s", MESSAGE_COLUMN, "", arrow);
        terminal_print_wrapped(terminal, remedy, indent, indent, columns);
    }
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static void print_verdict(const struct terminal *terminal, const char *vm, const char *to,
                          const size_t *counts)
{
    size_t blocks = counts[CHECK_BLOCK];
    size_t warnings = counts[CHECK_WARN];
    fprintf(terminal->stream, "\n%s%s %s to %s%s: ", terminal_begin(terminal, TERMINAL_BOLD), vm,
            blocks ? "cannot move" : "can move", to, terminal_begin(terminal, TERMINAL_PLAIN));
    if (blocks) {
        fprintf(terminal->stream, "%zu check%s block%s it", blocks, plural(blocks),
                blocks == 1 ? "s" : "");
    } else {
        fputs("nothing blocks it", terminal->stream);
    }
    if (warnings) {
        fprintf(terminal->stream, ", %zu warning%s", warnings, plural(warnings));
    }
    fputs("\n", terminal->stream);
}

int migration_is_blocked(const json_t *answer, struct error *err)
{
    const json_t *checks = json_object_get(answer, "checks");
    size_t index;
    const json_t *check;
    if (!json_is_array(checks) || json_array_size(checks) == 0) {
        return error_set(err, EPROTO, "the agent's answer names no checks");
    }
    json_array_foreach (checks, index, check) {
        if (level_of(check) == CHECK_BLOCK) {
            return 1;
        }
    }
    return strcmp(field_text(answer, "verdict"), levels[CHECK_BLOCK].name) == 0;
}

void migration_print_checks(const struct terminal *terminal, const json_t *answer, const char *vm,
                            const char *to)
{
    size_t counts[CHECK_LEVELS] = {0};
    size_t index;
    const json_t *check;
    json_array_foreach (json_object_get(answer, "checks"), index, check) {
        enum check_level level = level_of(check);
        counts[level]++;
        print_check(terminal, check, level);
    }
    migration_print_forecast(terminal, json_object_get(answer, "forecast"), vm, to);
    print_verdict(terminal, vm, to, counts);
}
