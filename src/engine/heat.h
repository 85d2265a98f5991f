/*
 * Which pages are written all the time, from the last few collections: half a byte a page, and
 * every question is answered by words of 64 pages.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/page_set.h"

#define HEAT_INTERVALS 4u    /* looked back upon */
#define HEAT_UNIT_PAGES 512u /* one huge page: what is paced together */

struct heat {
    struct page_set written[HEAT_INTERVALS]; /* in the intervals; a ring */
    uint64_t duration_ns[HEAT_INTERVALS];
    unsigned next;
    unsigned known; /* how many intervals there are yet */
};

/* For `pages` pages. 0 or -ENOMEM. */
int heat_init(struct heat *heat, uint64_t pages);
void heat_done(struct heat *heat);

/* In the interval that ends now, of that length, these pages were written; the oldest interval is
 * forgotten. */
void heat_note(struct heat *heat, const struct page_set *written, uint64_t duration_ns);

/* `ret_hot` becomes the pages written in all intervals, or all but one; none while there were fewer
 * intervals than are looked back upon. */
void heat_find_hot(const struct heat *heat, struct page_set *ret_hot);

/* At how many bytes a second the pages outside of `where`, whole units, were written of late. */
uint64_t heat_rest(const struct heat *heat, const struct page_set *where);

/* Adds units to `where`, the most often written first, until heat_rest() is at most so much.
 * 0 or -ENOMEM. */
int heat_cover(const struct heat *heat, uint64_t rest_per_second, struct page_set *where);
