/* Tables: see table.h. */
#include "cli/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CELL_SIZE 512
#define GAP 2 /* blanks between columns */
#define NARROWEST 8

void table_done(struct table *table)
{
    for (size_t i = 0; i < table->row_count * table->column_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    table->cells = NULL;
    table->row_count = 0;
}

int table_add(struct table *table, const char *const *cells)
{
    size_t used = table->row_count * table->column_count;
    char **grown = realloc(table->cells, (used + table->column_count) * sizeof(char *));
    if (!grown) {
        return -ENOMEM;
    }
    table->cells = grown;
    for (size_t i = 0; i < table->column_count; i++) {
        char clean[CELL_SIZE];
        text_clean(cells[i], clean, sizeof(clean));
        grown[used + i] = strdup(clean);
        if (!grown[used + i]) {
            while (i > 0) {
                free(grown[used + --i]);
            }
            return -ENOMEM;
        }
    }
    table->row_count++;
    return 0;
}

/* As wide as its content; 0 for a column that is left out. */
static void measure(const struct table *table, size_t *widths)
{
    for (size_t column = 0; column < table->column_count; column++) {
        size_t title = text_width(table->columns[column].title);
        widths[column] = table->columns[column].optional ? 0 : title;
        for (size_t row = 0; row < table->row_count; row++) {
            size_t width = text_width(table->cells[row * table->column_count + column]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
        widths[column] = widths[column] && widths[column] < title ? title : widths[column];
    }
}

static size_t widest(const size_t *widths, size_t count)
{
    size_t found = 0;
    for (size_t i = 1; i < count; i++) {
        found = widths[i] > widths[found] ? i : found;
    }
    return found;
}

static void narrow(const struct table *table, size_t *widths, size_t columns)
{
    size_t total = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        total += widths[i] + (widths[i] && total ? GAP : 0);
    }
    for (; total > columns; total--) {
        size_t *width = &widths[widest(widths, table->column_count)];
        if (*width <= NARROWEST) {
            return;
        }
        (*width)--;
    }
}

/* Blanks are printed before a cell, never behind the last one. */
static void print_cell(const struct table *table, const struct terminal *terminal, size_t column,
                       const char *text, size_t width, size_t *blanks)
{
    char fitted[CELL_SIZE];
    text_fit(text, width, terminal->utf8, fitted, sizeof(fitted));
    size_t rest = width - text_width(fitted);
    bool right = table->columns[column].side == TABLE_RIGHT;
    *blanks += right ? rest : 0;
    if (fitted[0]) {
        fprintf(terminal->stream, "%*s%s", (int)*blanks, "", fitted);
        *blanks = 0;
    }
    *blanks += GAP + (right ? 0 : rest);
}

static void print_row(const struct table *table, const struct terminal *terminal,
                      const size_t *widths, unsigned indent, const char *const *cells)
{
    size_t blanks = indent;
    for (size_t column = 0; column < table->column_count; column++) {
        if (widths[column] > 0) {
            print_cell(table, terminal, column, cells[column], widths[column], &blanks);
        }
    }
}

static void print_titles(const struct table *table, const struct terminal *terminal,
                         const size_t *widths, unsigned indent)
{
    const char *titles[TABLE_COLUMNS_MOST];
    for (size_t column = 0; column < table->column_count; column++) {
        titles[column] = table->columns[column].title;
    }
    fputs(terminal_begin(terminal, TERMINAL_BOLD), terminal->stream);
    print_row(table, terminal, widths, indent, titles);
    fprintf(terminal->stream, "%s\n", terminal_begin(terminal, TERMINAL_PLAIN));
}

void table_print(const struct table *table, const struct terminal *terminal, unsigned indent)
{
    size_t widths[TABLE_COLUMNS_MOST];
    measure(table, widths);
    if (terminal->interactive) {
        narrow(table, widths, terminal_columns(terminal) - indent);
    }
    print_titles(table, terminal, widths, indent);
    for (size_t row = 0; row < table->row_count; row++) {
        print_row(table, terminal, widths, indent,
                  (const char *const *)table->cells + row * table->column_count);
        fputc('\n', terminal->stream);
    }
}
