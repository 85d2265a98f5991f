/* Lines of "label  value": see output.h. */
#include "cli/output.h"

#include <stdarg.h>
#include <stdio.h>

#include "cli/fields.h"

#define LABEL_WIDTH 18

void output_line(const struct terminal *terminal, const char *label, const char *format, ...)
{
    char text[1024];
    char clean[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (text[0]) {
        text_clean(text, clean, sizeof(clean));
        fprintf(terminal->stream, "%-*s  %s\n", LABEL_WIDTH, label, clean);
    }
}

void output_text(const struct terminal *terminal, const char *label, const json_t *object,
                 const char *key)
{
    output_line(terminal, label, "%s", field_text(object, key));
}

void output_size(const struct terminal *terminal, const char *label, const json_t *object,
                 const char *key)
{
    char text[FIELD_SIZE];
    if (json_is_number(json_object_get(object, key))) {
        output_line(terminal, label, "%s", field_size(object, key, text));
    }
}
