/*
 * A migration on its way, as lines of text: two that are redrawn in place on a terminal, or one a
 * second in a log. What is shown never goes back, whatever the agent reports: a round that finds
 * more to do than was thought holds the bar still.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/terminal.h"

#define PROGRESS_LINES 2
#define PROGRESS_LINE_SIZE 1024

struct progress {
    double highest;         /* the fraction shown; never falls */
    char phase[32];         /* the phase last printed as a plain line */
    uint64_t printed_at_ns; /* when that was */
    bool drawn;             /* PROGRESS_LINES stand on the terminal, the cursor before them */
};

/* The two lines for a task, at most `columns` wide. */
void progress_format(struct progress *progress, const json_t *task, bool utf8, unsigned columns,
                     char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE]);

/* The plain line for a task, if one is due at `now_ns`: a new phase, or a second gone by. */
bool progress_format_plain(struct progress *progress, const json_t *task, uint64_t now_ns,
                           char line[PROGRESS_LINE_SIZE]);

/* Draws the lines over the last ones, and takes them away. */
void progress_draw(struct progress *progress, const struct terminal *terminal, const json_t *task);
void progress_clear(struct progress *progress, const struct terminal *terminal);
