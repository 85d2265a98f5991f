/*
 * What a page or disk block of the test guest holds: bytes that follow, every one of them, from
 * who wrote it, where it belongs and how often it was written. Whoever knows these three can tell
 * a wrong, stale, misplaced or torn page from a right one.
 */
#ifndef GUEST_PAGE_STAMP_H
#define GUEST_PAGE_STAMP_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

enum page_fill {
    PAGE_FILL_RANDOM, /* incompressible */
    PAGE_FILL_TEXT,   /* compressible, as prose is */
    PAGE_FILL_ZERO,   /* even generations: all zero; odd ones: zero between two stamped ends */
};

struct page_stamp {
    uint64_t owner; /* who wrote it: differs from one start of a writer to the next */
    uint64_t index; /* where it belongs, counted in pages */
    uint64_t generation;
};

enum page_verdict {
    PAGE_RIGHT,
    PAGE_STALE,     /* a whole page of another generation */
    PAGE_MISPLACED, /* a whole page that belongs elsewhere */
    PAGE_TORN,      /* part of it is of another generation */
    PAGE_ZEROED,
    PAGE_CORRUPT, /* none of these */
};

struct page_check {
    enum page_verdict verdict;
    size_t wrong_bytes;
    size_t first_wrong; /* offset in the page; means nothing when it is right */
};

/* Fills `page`, PAGE_BYTES of it aligned to 8, as `stamp` says. */
void page_stamp_write(void *page, const struct page_stamp *stamp, enum page_fill fill);

/*
 * Compares every byte of `page` with what `stamp` says it should hold. `previous` is the
 * generation that the page held before, the one a torn page would be mixed with.
 */
struct page_check page_stamp_check(const void *page, const struct page_stamp *stamp,
                                   uint64_t previous, enum page_fill fill);

/* "right", "stale" and so on: a literal. */
const char *page_verdict_name(enum page_verdict verdict);

/* Reads "random", "text" or "zero". Returns 0, or -EINVAL. */
int page_fill_parse(const char *text, enum page_fill *ret_fill);

/* One step of a 64-bit mix in which every bit of the input reaches every bit of the output. */
uint64_t page_stamp_mix(uint64_t value);

#endif
