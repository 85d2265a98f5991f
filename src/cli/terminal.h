/*
 * Where output goes: what the terminal behind a stream can show, and text that fits it. Text that
 * came from an agent is cleaned of control characters before it is printed, so that no name or
 * message can drive the terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* How wide lines may be where nobody can say: in a pipe, a file, a serial line. */
#define TERMINAL_COLUMNS_DEFAULT 80

enum terminal_colour {
    TERMINAL_PLAIN,
    TERMINAL_GREEN,
    TERMINAL_YELLOW,
    TERMINAL_RED,
    TERMINAL_BOLD
};

struct terminal {
    FILE *stream;
    bool interactive; /* a terminal that understands cursor movement */
    bool colour;      /* interactive, and NO_COLOR (no-color.org) is not set */
    bool utf8;        /* the locale's character set */
};

/* Looks at the stream, the environment and the locale. */
void terminal_init(struct terminal *terminal, FILE *stream);

/* Columns at this moment (a window may be resized). */
unsigned terminal_columns(const struct terminal *terminal);

/* The escape sequence that begins a colour, or "" where colours are off. TERMINAL_PLAIN ends one.
 */
const char *terminal_begin(const struct terminal *terminal, enum terminal_colour colour);

/* Prints words broken into lines of at most `columns`, all lines but the first indented by
 * `indent`; `used` columns of the first line are taken already. Ends with a newline. */
void terminal_print_wrapped(const struct terminal *terminal, const char *text, unsigned used,
                            unsigned indent, unsigned columns);

/* Columns that UTF-8 text takes: one a code point. */
size_t text_width(const char *text);

/* Copies text with every control character replaced by '?'; cuts at a whole character. */
void text_clean(const char *text, char *ret_text, size_t size);

/* Copies text; longer than `width` columns, it is cut and ends with an ellipsis. */
void text_fit(const char *text, size_t width, bool utf8, char *ret_text, size_t size);

/* The candidate nearest to a mistyped word, or NULL when none is near. NULL-terminated list. */
const char *text_nearest(const char *word, const char *const *candidates);
