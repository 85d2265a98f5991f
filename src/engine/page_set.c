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

/* Most words of most sets are empty, and processors that count bits are not presupposed. */
static uint64_t count_bits(uint64_t word)
{
    return word ? (uint64_t)__builtin_popcountll(word) : 0;
}

/* Words [first, end) of a run on its way, and which bits of each of them belong to the run. */
struct piece {
    uint64_t first;
    uint64_t end;
    uint64_t mask;
};

/* Cuts a piece off the run: all its whole words at once, or what it has of one. False when the run
 * is empty. The loops over a piece's words are all that large sets cost: nothing else is in them.
 */
static bool next_piece(struct page_run *run, struct piece *ret_piece)
{
    uint64_t index = run->first / WORD_BITS, low = run->first % WORD_BITS;
    uint64_t count = run->count - run->count % WORD_BITS;
    if (run->count == 0) {
        return false;
    }
    if (low == 0 && count > 0) {
        *ret_piece = (struct piece){index, index + count / WORD_BITS, ~0ULL};
    } else {
        count = run->count < WORD_BITS - low ? run->count : WORD_BITS - low;
        *ret_piece = (struct piece){index, index + 1, word_mask(low, low + count)};
    }
    run->first += count;
    run->count -= count;
    return true;
}

static void check_run(const struct page_set *set, struct page_run run)
{
    assert(run.first <= set->pages && run.count <= set->pages - run.first);
    (void)set, (void)run;
}

static void apply_run(struct page_set *set, struct page_run run, bool member)
{
    struct piece piece;
    check_run(set, run);
    while (next_piece(&run, &piece)) {
        const uint64_t bits = member ? piece.mask : 0;
        for (uint64_t i = piece.first; i < piece.end; i++) {
            set->words[i] = (set->words[i] & ~piece.mask) | bits;
        }
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

static struct page_run all_of(const struct page_set *set)
{
    return (struct page_run){0, set->pages};
}

uint64_t page_set_count_within(const struct page_set *set, struct page_run within)
{
    struct piece piece;
    uint64_t count = 0;
    check_run(set, within);
    while (next_piece(&within, &piece)) {
        for (uint64_t i = piece.first; i < piece.end; i++) {
            count += count_bits(set->words[i] & piece.mask);
        }
    }
    return count;
}

uint64_t page_set_count(const struct page_set *set)
{
    return page_set_count_within(set, all_of(set));
}

void page_set_unite_within(struct page_set *into, const struct page_set *from,
                           struct page_run within)
{
    struct piece piece;
    assert(into->pages == from->pages);
    check_run(into, within);
    while (next_piece(&within, &piece)) {
        for (uint64_t i = piece.first; i < piece.end; i++) {
            into->words[i] |= from->words[i] & piece.mask;
        }
    }
}

void page_set_unite(struct page_set *into, const struct page_set *from)
{
    page_set_unite_within(into, from, all_of(into));
}

void page_set_subtract_within(struct page_set *into, const struct page_set *from,
                              struct page_run within)
{
    struct piece piece;
    assert(into->pages == from->pages);
    check_run(into, within);
    while (next_piece(&within, &piece)) {
        for (uint64_t i = piece.first; i < piece.end; i++) {
            into->words[i] &= ~(from->words[i] & piece.mask);
        }
    }
}

void page_set_subtract(struct page_set *into, const struct page_set *from)
{
    page_set_subtract_within(into, from, all_of(into));
}

void page_set_intersect_within(struct page_set *into, const struct page_set *with,
                               struct page_run within)
{
    struct piece piece;
    assert(into->pages == with->pages);
    check_run(into, within);
    while (next_piece(&within, &piece)) {
        for (uint64_t i = piece.first; i < piece.end; i++) {
            into->words[i] &= with->words[i] | ~piece.mask;
        }
    }
}

void page_set_intersect(struct page_set *into, const struct page_set *with)
{
    page_set_intersect_within(into, with, all_of(into));
}

/* Where in a word its member number `number` (from 0) is. */
static unsigned member_at(uint64_t word, uint64_t number)
{
    while (number-- > 0) {
        word &= word - 1;
    }
    return (unsigned)__builtin_ctzll(word);
}

uint64_t page_set_span(const struct page_set *set, uint64_t from, uint64_t members)
{
    struct page_run rest = {from, set->pages - from};
    struct piece piece;
    check_run(set, rest);
    while (members > 0 && next_piece(&rest, &piece)) {
        for (uint64_t i = piece.first; i < piece.end; i++) {
            uint64_t word = set->words[i] & piece.mask, count = count_bits(word);
            if (count >= members) {
                return i * WORD_BITS + member_at(word, members - 1) + 1 - from;
            }
            members -= count;
        }
    }
    return rest.first - from;
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

bool page_set_next_run_within(const struct page_set *set, struct page_run within, uint64_t most,
                              struct page_run *ret_run)
{
    check_run(set, within);
    uint64_t end = within.first + within.count;
    uint64_t first = find(set, within.first, end, true);
    if (first >= end) {
        return false;
    }
    uint64_t limit = most < end - first ? first + most : end;
    *ret_run = (struct page_run){.first = first, .count = find(set, first, limit, false) - first};
    return true;
}

bool page_set_next_run(const struct page_set *set, uint64_t from, uint64_t most,
                       struct page_run *ret_run)
{
    struct page_run rest = {from, from < set->pages ? set->pages - from : 0};
    return rest.count > 0 && page_set_next_run_within(set, rest, most, ret_run);
}
