/*
 * The command line, parsed from a table: each command names its options once, and that table is
 * what parses them, what --help prints, and what errors suggest from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define ARGUMENTS_OPTIONS_MOST 64
#define ARGUMENTS_WORDS_MOST 8

/* A table of these ends with an empty one. */
struct option_spec {
    const char *name;  /* "--memory" */
    const char *value; /* what its value is called in the help; NULL: it takes none */
    const char *help;
};

struct arguments {
    struct {
        const struct option_spec *spec;
        const char *value;
    } options[ARGUMENTS_OPTIONS_MOST]; /* in the order given; borrowed from argv */
    size_t option_count;
    const char *words[ARGUMENTS_WORDS_MOST]; /* what is no option */
    size_t word_count;
};

/* Takes leading options of one table, up to the first word; returns how many of argv it took. */
int arguments_parse_leading(struct arguments *arguments, const struct option_spec *specs, int argc,
                            char **argv, struct error *err);

/* Takes the whole of argv, options and words in any order; `specs` (may be NULL) and `common` both
 * apply. "--name=value" and "--name value" are alike; after "--" all is words. -EINVAL for an
 * unknown option (the nearest is suggested), a missing or an unwanted value. */
int arguments_parse(struct arguments *arguments, const struct option_spec *specs,
                    const struct option_spec *common, int argc, char **argv, struct error *err);

/* Whether an option was given, and its (last) value, or NULL. */
bool arguments_has(const struct arguments *arguments, const char *name);
const char *arguments_value(const struct arguments *arguments, const char *name);

/* The values of an option that may be given several times, in order, at most `most` of them;
 * returns how many. */
size_t arguments_values(const struct arguments *arguments, const char *name,
                        const char **ret_values, size_t most);

/* An option's value as one of a list of words that ends with NULL: its index in the list;
 * ret_index is left alone when it was not given. */
int arguments_choice(const struct arguments *arguments, const char *name, const char *const *words,
                     int *ret_index, struct error *err);

/* An option's value as a whole number or a size; ret_value is left alone when it was not given. */
int arguments_integer(const struct arguments *arguments, const char *name, int64_t lowest,
                      int64_t highest, int64_t *ret_value, struct error *err);
int arguments_size(const struct arguments *arguments, const char *name, uint64_t *ret_bytes,
                   struct error *err);
