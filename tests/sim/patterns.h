/*
 * How guests write memory, for measuring moves against them: each pattern picks the next page.
 */
#pragma once

#include <stdint.h>

#include "random.h"

enum pattern { PATTERN_UNIFORM, PATTERN_SEQUENTIAL, PATTERN_HOT_SET, PATTERN_MIXED, PATTERNS };

struct pattern_writer {
    enum pattern pattern;
    uint64_t pages;    /* of the guest */
    uint64_t position; /* of the sequential one */
    struct random random;
};

const char *pattern_name(enum pattern pattern);
uint64_t pattern_next_page(struct pattern_writer *writer);
