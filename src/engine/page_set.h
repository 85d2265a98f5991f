/*
 * A set of guest pages: one bit a page, walked in runs. 256 KiB for a guest of 8 GiB.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page_set {
    uint64_t *words; /* owned */
    uint64_t pages;  /* how many pages the guest has */
};

/* A run of pages: [first, first + count). */
struct page_run {
    uint64_t first;
    uint64_t count;
};

/* An empty set for `pages` pages. 0 or -ENOMEM. */
int page_set_init(struct page_set *set, uint64_t pages);
void page_set_done(struct page_set *set);

void page_set_clear(struct page_set *set);
/* Runs must lie within the set (asserted). */
void page_set_add(struct page_set *set, struct page_run run);
void page_set_remove(struct page_set *set, struct page_run run);
bool page_set_has(const struct page_set *set, uint64_t page);
uint64_t page_set_count(const struct page_set *set);

/* into |= from, into &= ~from, into &= with; both of the same size. */
void page_set_unite(struct page_set *into, const struct page_set *from);
void page_set_subtract(struct page_set *into, const struct page_set *from);
void page_set_intersect(struct page_set *into, const struct page_set *with);

/* The same, of the pages of `within` alone, which must lie within the sets (asserted): what they
 * cost depends on its length, not on the guest's. */
uint64_t page_set_count_within(const struct page_set *set, struct page_run within);
void page_set_unite_within(struct page_set *into, const struct page_set *from,
                           struct page_run within);
void page_set_subtract_within(struct page_set *into, const struct page_set *from,
                              struct page_run within);
void page_set_intersect_within(struct page_set *into, const struct page_set *with,
                               struct page_run within);

/* The length of the shortest run from `from` on that holds `members` members, or all the rest. */
uint64_t page_set_span(const struct page_set *set, uint64_t from, uint64_t members);

/* The first run of members at or after `from`, at most `most` pages long; false when there is none.
 */
bool page_set_next_run(const struct page_set *set, uint64_t from, uint64_t most,
                       struct page_run *ret_run);

/* The first run of members within `within`. */
bool page_set_next_run_within(const struct page_set *set, struct page_run within, uint64_t most,
                              struct page_run *ret_run);
