/* Terminals: see terminal.h. */
#include "cli/terminal.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool terminal_understands(FILE *stream)
{
    const char *type = getenv("TERM");
    return isatty(fileno(stream)) && type && strcmp(type, "dumb") != 0;
}

void terminal_init(struct terminal *terminal, FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR");
    terminal->stream = stream;
    terminal->interactive = terminal_understands(stream);
    terminal->colour = terminal->interactive && !(no_colour && no_colour[0]);
    terminal->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

unsigned terminal_columns(const struct terminal *terminal)
{
    struct winsize size;
    if (terminal->interactive && ioctl(fileno(terminal->stream), TIOCGWINSZ, &size) == 0 &&
        size.ws_col > 0) {
        return size.ws_col;
    }
    return TERMINAL_COLUMNS_DEFAULT;
}

const char *terminal_begin(const struct terminal *terminal, enum terminal_colour colour)
{
    static const char *const sequences[] = {
        [TERMINAL_PLAIN] = "\033[0m", [TERMINAL_GREEN] = "\033[32m", [TERMINAL_YELLOW] = "\033[33m",
        [TERMINAL_RED] = "\033[31m",  [TERMINAL_BOLD] = "\033[1m",
    };
    return terminal->colour ? sequences[colour] : "";
}

void terminal_print_wrapped(const struct terminal *terminal, const char *text, unsigned used,
                            unsigned indent, unsigned columns)
{
    unsigned column = used;
    bool line_is_empty = true;
    while (*text) {
        char word[1024];
        size_t length = strcspn(text, " ");
        snprintf(word, sizeof(word), "%.*s", (int)length, text);
        unsigned width = (unsigned)text_width(word);
        if (!line_is_empty && column + 1 + width > columns) {
            fprintf(terminal->stream, "\n%*s", (int)indent, "");
            column = indent;
            line_is_empty = true;
        }
        column += (unsigned)fprintf(terminal->stream, "%s", line_is_empty ? "" : " ") + width;
        fputs(word, terminal->stream);
        line_is_empty = false;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', terminal->stream);
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++) {
        width += !continues_character(*text);
    }
    return width;
}

/* C0, DEL, and the C1 controls, which UTF-8 writes as C2 80 to C2 9F. */
static bool is_control(const char *text)
{
    unsigned char byte = (unsigned char)text[0];
    return byte < 0x20 || byte == 0x7F || (byte == 0xC2 && (unsigned char)text[1] < 0xA0);
}

void text_clean(const char *text, char *ret_text, size_t size)
{
    size_t used = 0;
    while (*text && used + 1 < size) {
        size_t length = 1;
        while (continues_character(text[length])) {
            length++;
        }
        if (is_control(text)) {
            ret_text[used++] = '?';
        } else if (used + length < size) {
            memcpy(ret_text + used, text, length);
            used += length;
        } else {
            break;
        }
        text += length;
    }
    ret_text[used] = '\0';
}

void text_fit(const char *text, size_t width, bool utf8, char *ret_text, size_t size)
{
    if (text_width(text) <= width) {
        snprintf(ret_text, size, "%s", text);
        return;
    }
    const char *ellipsis = utf8 ? "…" : "...";
    size_t keep = width > text_width(ellipsis) ? width - text_width(ellipsis) : 0;
    const char *end = text;
    for (size_t taken = 0; *end && (taken < keep || continues_character(*end)); end++) {
        taken += !continues_character(end[1]);
    }
    snprintf(ret_text, size, "%.*s%s", (int)(end - text), text, ellipsis);
}

/* Levenshtein's distance with the current row only; words longer than the row are far away. */
static size_t distance(const char *left, const char *right)
{
    size_t row[33];
    size_t columns = strlen(right);
    if (columns >= sizeof(row) / sizeof(row[0])) {
        return columns;
    }
    for (size_t column = 0; column <= columns; column++) {
        row[column] = column;
    }
    for (size_t line = 1; left[line - 1]; line++) {
        size_t diagonal = row[0];
        row[0] = line;
        for (size_t column = 1; column <= columns; column++) {
            size_t above = row[column];
            size_t best = diagonal + (left[line - 1] != right[column - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[column - 1] + 1 < best ? row[column - 1] + 1 : best;
            diagonal = above;
            row[column] = best;
        }
    }
    return row[columns];
}

const char *text_nearest(const char *word, const char *const *candidates)
{
    const char *nearest = NULL;
    size_t least = strlen(word) / 2 + 1; /* half of it wrong: not what was meant */
    for (; *candidates; candidates++) {
        size_t apart = distance(word, *candidates);
        if (apart < least) {
            least = apart;
            nearest = *candidates;
        }
    }
    return nearest;
}
