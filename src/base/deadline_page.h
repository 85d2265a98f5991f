/*
 * The deadline page in memory: see deadline.h for what it is. This much of it depends on libc
 * alone, for the library that Drover loads into QEMU.
 *
 * The layout is for good: a QEMU that was started by an older Drover maps it as long as it runs.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEADLINE_MAGIC 0x44525644u /* "DVRD" in memory */
#define DEADLINE_VERSION 1u
#define DEADLINE_PAGE_SIZE ((size_t)4096)
#define DEADLINE_REASON_WORDS 32 /* of 8 bytes: the reason is text of at most 255 bytes */

struct deadline_page {
    _Atomic uint32_t magic;
    _Atomic uint32_t version;
    _Atomic uint64_t deadline_ns; /* CLOCK_BOOTTIME; 0: nothing may run */

    /* How often the deadline was moved on after it had passed; changes before deadline_ns does. As
     * long as it is the same no other host can have taken anything over. */
    _Atomic uint64_t lapses;

    /* For people. `sequence` is odd while the guard writes them: who reads looks at it twice. */
    _Atomic uint64_t sequence;
    _Atomic uint64_t renewed_ns; /* CLOCK_BOOTTIME, when the last renewal's write began */
    _Atomic uint64_t counter;    /* renewals since the page was made */
    _Atomic uint64_t failure;    /* errno of the last attempt; 0: it succeeded */
    _Atomic uint64_t reason[DEADLINE_REASON_WORDS];
};

_Static_assert(sizeof(struct deadline_page) <= DEADLINE_PAGE_SIZE, "one page");

/* Whether a mapped file is a page that this version understands. */
static inline bool deadline_page_is_valid(const struct deadline_page *page)
{
    return atomic_load_explicit(&page->magic, memory_order_acquire) == DEADLINE_MAGIC &&
           atomic_load_explicit(&page->version, memory_order_relaxed) == DEADLINE_VERSION;
}

/* The moment of CLOCK_BOOTTIME, in nanoseconds, until which machines may run. */
static inline uint64_t deadline_page_moment(const struct deadline_page *page)
{
    return atomic_load_explicit(&page->deadline_ns, memory_order_acquire);
}

/* Read it after deadline_page_moment() to learn whether that moment is of the same stretch. */
static inline uint64_t deadline_page_lapses(const struct deadline_page *page)
{
    return atomic_load_explicit(&page->lapses, memory_order_acquire);
}
