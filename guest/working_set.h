/*
 * The memory that the guest writes and checks: stamped pages, and apart from them the table of what
 * each should hold. The table is guest memory, too, and could be stale together with the pages
 * it speaks of; the sum of its entries, kept a third time, would show that.
 */
#ifndef GUEST_WORKING_SET_H
#define GUEST_WORKING_SET_H

#include "page_stamp.h"

struct working_set {
    unsigned char *pages;  /* owned, mapped */
    uint32_t *generations; /* owned, mapped: one a page */
    uint64_t count;
    uint64_t owner;
    enum page_fill fill;
    uint64_t generation_sum;

    uint64_t pages_written;
    uint64_t pages_verified;
    uint64_t wrong_pages;
    uint64_t wrong_bytes;
};

/* Maps and stamps `bytes`, rounded down to whole pages. Returns 0, -EINVAL or -ENOMEM. */
int working_set_init(struct working_set *set, uint64_t bytes, uint64_t owner, enum page_fill fill);

void working_set_done(struct working_set *set);

/*
 * Checks one page. A wrong one is counted, described on standard output (the first few) and
 * stamped anew, so that one fault is counted once.
 */
struct page_check working_set_verify(struct working_set *set, uint64_t index);

/* Checks one page, then writes its next generation. */
void working_set_write(struct working_set *set, uint64_t index);

/* Compares the table with the sum that was kept apart. A mismatch is counted as one wrong page. */
void working_set_verify_table(struct working_set *set);

/* Checks all pages and the table. */
void working_set_verify_all(struct working_set *set);

#endif
