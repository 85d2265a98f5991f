/* Lines of "label  value", the shape of every `show` command. */
#pragma once

#include <jansson.h>

#include "cli/terminal.h"

/* Prints a line; nothing when the value is empty. Control characters are replaced. */
void output_line(const struct terminal *terminal, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints an object's string under a label; nothing when it is missing or empty. */
void output_text(const struct terminal *terminal, const char *label, const json_t *object,
                 const char *key);

/* Prints an object's size in bytes under a label; nothing when it is missing. */
void output_size(const struct terminal *terminal, const char *label, const json_t *object,
                 const char *key);
