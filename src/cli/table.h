/* A table of text: columns as wide as their content, narrowed where the terminal is too small. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/terminal.h"

#define TABLE_COLUMNS_MOST 8

enum table_side { TABLE_LEFT, TABLE_RIGHT };

struct table_column {
    const char *title;
    enum table_side side;
    bool optional; /* left out while all its cells are empty */
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t column_count;
    char **cells; /* owned, row after row */
    size_t row_count;
};

/* All-zero but for columns and column_count is an empty table. */
void table_done(struct table *table);

/* Adds a row: as many strings as there are columns; they are copied, control characters replaced.
 * 0 or -ENOMEM. */
int table_add(struct table *table, const char *const *cells);

/* Prints titles and rows, indented. On a terminal lines fit its width: the widest columns are cut,
 * with an ellipsis; in a pipe nothing is cut. */
void table_print(const struct table *table, const struct terminal *terminal, unsigned indent);

#define CLEANUP_TABLE __attribute__((cleanup(table_done)))
