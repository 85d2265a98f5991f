/* Progress lines: see progress.h. */
#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/fields.h"

#define BAR_MOST 38
#define BAR_LEAST 8
#define BESIDE_BAR 42 /* phase, per cent and remaining time */

/* The whole is shown only once the task says that it has ended well. */
static int percent(const struct progress *progress, const json_t *task)
{
    if (strcmp(field_text(task, "state"), "succeeded") == 0) {
        return 100;
    }
    return (int)fmin(floor(progress->highest * 100), 99);
}

static void advance(struct progress *progress, const json_t *task)
{
    double fraction = fmin(field_real(task, "fraction"), 1);
    progress->highest = fmax(progress->highest, fraction);
}

static void format_bar(double fraction, unsigned width, bool utf8, char *text, size_t size)
{
    unsigned filled = (unsigned)floor(fraction * width);
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < width && used < size; i++) {
        const char *full = utf8 ? "█" : "#";
        const char *empty = utf8 ? "░" : "-";
        used += (size_t)snprintf(text + used, size - used, "%s", i < filled ? full : empty);
    }
}

static unsigned bar_width(unsigned columns)
{
    unsigned width = columns > BESIDE_BAR ? columns - BESIDE_BAR : 0;
    width = width < BAR_LEAST ? BAR_LEAST : width;
    return width > BAR_MOST ? BAR_MOST : width;
}

static void format_remaining(const json_t *details, char *text, size_t size)
{
    char duration[FIELD_SIZE];
    text[0] = '\0';
    if (json_is_number(json_object_get(details, "remaining_ms"))) {
        snprintf(text, size, "about %s left",
                 field_milliseconds(details, "remaining_ms", duration));
    }
}

/* What the guest dirties is known only when the first round has ended. A move that stands still
 * says what it waits for. */
static void format_details(const json_t *task, char *text, size_t size)
{
    const json_t *details = json_object_get(task, "progress");
    const char *waiting = field_text(task, "waiting");
    char rate[FIELD_SIZE];
    char dirty[FIELD_SIZE];
    char left[FIELD_SIZE];
    text[0] = '\0';
    if (waiting[0]) {
        text_clean(waiting, text, size);
    } else if (json_is_object(details)) {
        bool measured = field_real(details, "dirty_rate") > 0 || field_real(details, "round") > 1;
        snprintf(text, size, "round %llu, %s, dirty %s%s, %s to go",
                 (unsigned long long)field_number(details, "round"),
                 field_rate(details, "rate", rate),
                 measured ? field_rate(details, "dirty_rate", dirty) : "-",
                 json_is_true(json_object_get(details, "paced")) ? " (paced)" : "",
                 field_size(details, "bytes_remaining", left));
    }
}

void progress_format(struct progress *progress, const json_t *task, bool utf8, unsigned columns,
                     char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE])
{
    const json_t *details = json_object_get(task, "progress");
    char bar[BAR_MOST * 4 + 1];
    char phase[32];
    char text[PROGRESS_LINE_SIZE];
    char remaining[64];
    advance(progress, task);
    text_clean(field_text(task, "phase"), phase, sizeof(phase));
    format_bar(progress->highest, bar_width(columns), utf8, bar, sizeof(bar));
    format_remaining(details, remaining, sizeof(remaining));
    snprintf(text, sizeof(text), "%-11s %s %3d%%  %s", phase, bar, percent(progress, task),
             remaining);
    text_fit(text, columns - 1, utf8, lines[0], PROGRESS_LINE_SIZE);
    int used = snprintf(text, sizeof(text), "%12s", "");
    format_details(task, text + used, sizeof(text) - (size_t)used);
    text_fit(text, columns - 1, utf8, lines[1], PROGRESS_LINE_SIZE);
}

bool progress_format_plain(struct progress *progress, const json_t *task, uint64_t now_ns,
                           char line[PROGRESS_LINE_SIZE])
{
    char phase[sizeof(progress->phase)];
    char details[256];
    text_clean(field_text(task, "phase"), phase, sizeof(phase));
    bool is_due = strcmp(phase, progress->phase) != 0 ||
                  now_ns - progress->printed_at_ns >= NANOSECONDS_PER_SECOND;
    if (!is_due || !phase[0]) {
        return false;
    }
    advance(progress, task);
    snprintf(progress->phase, sizeof(progress->phase), "%s", phase);
    progress->printed_at_ns = now_ns;
    format_details(task, details, sizeof(details));
    snprintf(line, PROGRESS_LINE_SIZE, "%s: %d%%%s%s", phase, percent(progress, task),
             details[0] ? ", " : "", details);
    return true;
}

/* The cursor is left before the first line, where an echoed ^C or another program's output does the
 * least harm. */
void progress_draw(struct progress *progress, const struct terminal *terminal, const json_t *task)
{
    char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
    progress_format(progress, task, terminal->utf8, terminal_columns(terminal), lines);
    fprintf(terminal->stream, "\r%s\033[K\n%s\033[K\033[A\r", lines[0], lines[1]);
    fflush(terminal->stream);
    progress->drawn = true;
}

void progress_clear(struct progress *progress, const struct terminal *terminal)
{
    if (progress->drawn) {
        fputs("\r\033[J", terminal->stream);
        fflush(terminal->stream);
        progress->drawn = false;
    }
}
