/* Words of which one is chosen: options and JSON fields that take one of a few. */
#pragma once

#include <stddef.h>

/* `words` ends with NULL. The index of `text` in it, or -1. */
int choice_find(const char *const *words, const char *text);

/* "live, plain or none", cut where it does not fit. */
void choice_list(const char *const *words, char *text, size_t size);
