/* Memory as guests have it, for tests and measurements of packing: the same for the same seed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum sample_kind {
    SAMPLE_TEXT,   /* words, the common ones often: zstd makes 0.35 of it, lz4 0.6 */
    SAMPLE_RANDOM, /* nothing makes it smaller */
};

struct sample_random {
    uint64_t state; /* not 0 */
};

uint64_t sample_next(struct sample_random *random);

void sample_fill(struct sample_random *random, enum sample_kind kind, uint8_t *bytes,
                 size_t length);

/* Changes `changes` bytes next to each other in each page: what a counter, a list or a log does. */
void sample_change(struct sample_random *random, uint8_t *bytes, size_t length, size_t changes);
