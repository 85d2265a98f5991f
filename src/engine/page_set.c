/* Sets of guest pages: see page_set.h. All walks go by words of 64 pages. */
#include "engine/page_set.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u

static uint64_t word_count(uint64_t pages)
{
    return (pages + WORD_BITS - 1) / WORD_BITS;
}

/* Bits [low, high) of a word; high is at most 64 and above low. */
static uint64_t word_mask(uint64_t low, uint64_t high)
{
    return (~0ULL >> (WORD_BITS - (high - low))) << low;
}

int page_set_init(struct page_set *set, uint64_t pages)
{
    uint64_t *words = calloc(word_count(pages) + 1, sizeof(*words));
    if (!words) {
        return -ENOMEM;
    }
    *set = (struct page_set){.words = words, .pages = pages};
    return 0;
}

void page_set_done(struct page_set *set)
{
    free(set->words);
    *set = (struct page_set){0};
}

void page_set_clear(struct page_set *set)
{
    memset(set->words, 0, word_count(set->pages) * sizeof(*set->words));
}

static void apply_run(struct page_set *set, struct page_run run, bool member)
{
    assert(run.first <= set->pages && run.count <= set->pages - run.first);
    uint64_t page = run.first, end = run.first + run.count;
    while (page < end) {
        uint64_t base = page - page % WORD_BITS;
        uint64_t high = end - base < WORD_BITS ? end - base : WORD_BITS;
        uint64_t mask = word_mask(page - base, high);
        uint64_t *word = &set->words[base / WORD_BITS];
        *word = member ? *word | mask : *word & ~mask;
        page = base + high;
    }
}

void page_set_add(struct page_set *set, struct page_run run)
{
    apply_run(set, run, true);
}

void page_set_remove(struct page_set *set, struct page_run run)
{
    apply_run(set, run, false);
}

bool page_set_has(const struct page_set *set, uint64_t page)
{
    assert(page < set->pages);
    return set->words[page / WORD_BITS] >> (page % WORD_BITS) & 1;
}

uint64_t page_set_count(const struct page_set *set)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < word_count(set->pages); i++) {
        count += (uint64_t)__builtin_popcountll(set->words[i]);
    }
    return count;
}

void page_set_unite(struct page_set *into, const struct page_set *from)
{
    assert(into->pages == from->pages);
    for (uint64_t i = 0; i < word_count(into->pages); i++) {
        into->words[i] |= from->words[i];
    }
}

void page_set_subtract(struct page_set *into, const struct page_set *from)
{
    assert(into->pages == from->pages);
    for (uint64_t i = 0; i < word_count(into->pages); i++) {
        into->words[i] &= ~from->words[i];
    }
}

void page_set_intersect(struct page_set *into, const struct page_set *with)
{
    assert(into->pages == with->pages);
    for (uint64_t i = 0; i < word_count(into->pages); i++) {
        into->words[i] &= with->words[i];
    }
}

/* The first page at or after `from`, below `limit`, that is (or is not) a member; `limit` if none.
 */
static uint64_t find(const struct page_set *set, uint64_t from, uint64_t limit, bool member)
{
    const uint64_t flip = member ? 0 : ~0ULL;
    for (uint64_t page = from; page < limit;) {
        uint64_t base = page - page % WORD_BITS;
        uint64_t word = (set->words[base / WORD_BITS] ^ flip) & word_mask(page - base, WORD_BITS);
        if (word) {
            uint64_t found = base + (uint64_t)__builtin_ctzll(word);
            return found < limit ? found : limit;
        }
        page = base + WORD_BITS;
    }
    return limit;
}

bool page_set_next_run(const struct page_set *set, uint64_t from, uint64_t most,
                       struct page_run *ret_run)
{
    uint64_t first = find(set, from, set->pages, true);
    if (first >= set->pages) {
        return false;
    }
    uint64_t limit = most < set->pages - first ? first + most : set->pages;
    *ret_run = (struct page_run){.first = first, .count = find(set, first, limit, false) - first};
    return true;
}
