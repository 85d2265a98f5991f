/* Pages gathered for one frame, or to be sent together: ascending runs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/page_set.h"
#include "wire/frame.h"

struct page_batch {
    struct page_run runs[WIRE_RUNS_MOST];
    uint32_t run_count;
    uint64_t pages;
};

void page_batch_empty(struct page_batch *batch);

/* Adds a run that lies behind all others, or makes the last one longer. There is room (asserted).
 */
void page_batch_add(struct page_batch *batch, struct page_run run);

/* Whether it holds `pages` pages or as many runs as a frame takes. */
bool page_batch_is_full(const struct page_batch *batch, uint64_t pages);
