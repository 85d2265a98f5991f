/*
 * The memory of what was sent: see delta_cache.h.
 *
 * A page's number is hashed to a set of WAYS slots. The contents lie in one anonymous mapping, slot
 * after slot, of which the system gives memory only as slots are filled. A set is guarded by one of
 * LOCKS mutexes. A full set gives up a slot at every WAYS-th page that asks for one only, and of
 * its slots the first in turn whose content was not brought up to date since its last turn.
 */
#include "engine/delta_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/guest.h"

#define WAYS 8u
#define LOCKS 64u /* a power of two */
#define WORD_PAGES 64u

struct set {
    uint64_t tags[WAYS]; /* page number + 1; 0: empty */
    uint8_t used;        /* one bit a way: brought up to date since its last turn */
    uint8_t turn;        /* the way to be looked at next for giving up */
    uint8_t asked;       /* pages that found the set full since one was let in */
};

struct delta_cache {
    uint64_t set_count;
    struct set *sets;
    uint8_t *contents; /* set_count * WAYS pages */
    uint64_t *sent;    /* one bit a page: sent before; changed atomically */
    uint64_t count;    /* entries; changed atomically */
    pthread_mutex_t locks[LOCKS];
};

static size_t contents_size(const struct delta_cache *cache)
{
    return cache->set_count * WAYS * ENGINE_PAGE_SIZE;
}

static int allocate(struct delta_cache *cache, uint64_t pages)
{
    cache->sets = calloc(cache->set_count, sizeof(*cache->sets));
    cache->sent = calloc(pages / WORD_PAGES + 1, sizeof(*cache->sent));
    cache->contents = mmap(NULL, contents_size(cache), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->contents == MAP_FAILED) {
        cache->contents = NULL;
    }
    return cache->sets && cache->sent && cache->contents ? 0 : -ENOMEM;
}

struct delta_cache *delta_cache_new(uint64_t pages, uint64_t bytes, struct error *err)
{
    struct delta_cache *cache = calloc(1, sizeof(*cache));
    if (!cache) {
        error_set(err, ENOMEM, "out of memory for remembering what was sent");
        return NULL;
    }
    for (uint32_t i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&cache->locks[i], NULL);
    }
    cache->set_count = bytes / ENGINE_PAGE_SIZE / WAYS;
    cache->set_count += cache->set_count == 0;
    if (allocate(cache, pages) < 0) {
        error_set(err, ENOMEM, "out of memory for remembering what was sent");
        delta_cache_free(cache);
        return NULL;
    }
    return cache;
}

void delta_cache_free(struct delta_cache *cache)
{
    if (!cache) {
        return;
    }
    for (uint32_t i = 0; i < LOCKS; i++) {
        pthread_mutex_destroy(&cache->locks[i]);
    }
    if (cache->contents) {
        munmap(cache->contents, contents_size(cache));
    }
    free(cache->sent);
    free(cache->sets);
    free(cache);
}

/* Where a page is or would be; its set is locked. */
struct place {
    struct set *set;
    uint64_t index; /* of the set */
    uint32_t way;   /* WAYS: there is no entry */
    pthread_mutex_t *lock;
};

static struct place find_and_lock(struct delta_cache *cache, uint64_t page)
{
    uint64_t hash = page * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing, Knuth 6.4 */
    struct place place = {.index = (uint64_t)((__uint128_t)hash * cache->set_count >> 64)};
    place.set = &cache->sets[place.index];
    place.lock = &cache->locks[place.index & (LOCKS - 1)];
    pthread_mutex_lock(place.lock);
    while (place.way < WAYS && place.set->tags[place.way] != page + 1) {
        place.way++;
    }
    return place;
}

static void unlock(const struct place *place)
{
    pthread_mutex_unlock(place->lock);
}

static uint8_t *content_of(const struct delta_cache *cache, const struct place *place)
{
    return cache->contents + (place->index * WAYS + place->way) * ENGINE_PAGE_SIZE;
}

/* Marks the pages of one word of bits; the bits of those that were marked before. */
static uint64_t mark_sent(struct delta_cache *cache, uint64_t page, uint64_t count)
{
    uint64_t bits = (count == WORD_PAGES ? 0 : UINT64_C(1) << count) - 1;
    bits <<= page % WORD_PAGES;
    return bits & __atomic_fetch_or(&cache->sent[page / WORD_PAGES], bits, __ATOMIC_RELAXED);
}

bool delta_cache_was_sent(struct delta_cache *cache, uint64_t page)
{
    uint64_t word = __atomic_load_n(&cache->sent[page / WORD_PAGES], __ATOMIC_RELAXED);
    return word >> (page % WORD_PAGES) & 1;
}

uint64_t delta_cache_count(const struct delta_cache *cache)
{
    return __atomic_load_n(&cache->count, __ATOMIC_RELAXED);
}

static void drop(struct delta_cache *cache, uint64_t page)
{
    struct place place = find_and_lock(cache, page);
    if (place.way < WAYS) {
        place.set->tags[place.way] = 0;
        place.set->used &= (uint8_t) ~(1u << place.way);
        __atomic_fetch_sub(&cache->count, 1, __ATOMIC_RELAXED);
    }
    unlock(&place);
}

void delta_cache_forget(struct delta_cache *cache, struct page_run run)
{
    uint64_t end = run.first + run.count;
    for (uint64_t page = run.first, count; page < end; page += count) {
        count = WORD_PAGES - page % WORD_PAGES;
        count = count < end - page ? count : end - page;
        mark_sent(cache, page, count);
    }
    if (delta_cache_count(cache) == 0) {
        return;
    }
    for (uint64_t page = run.first; page < end; page++) {
        drop(cache, page);
    }
}

/* The way of a full set that is given up. */
static uint32_t least_used(struct set *set)
{
    for (;;) {
        uint32_t way = set->turn;
        uint8_t bit = (uint8_t)(1u << way);
        set->turn = (uint8_t)((way + 1) % WAYS);
        if (!(set->used & bit)) {
            return way;
        }
        set->used &= (uint8_t)~bit;
    }
}

/* Makes room for a page that has no entry: its way, or WAYS when it is not let in. */
static uint32_t make_room(struct delta_cache *cache, struct set *set)
{
    for (uint32_t way = 0; way < WAYS; way++) {
        if (set->tags[way] == 0) {
            __atomic_fetch_add(&cache->count, 1, __ATOMIC_RELAXED);
            return way;
        }
    }
    if (++set->asked < WAYS) {
        return WAYS;
    }
    set->asked = 0;
    return least_used(set);
}

void delta_cache_store(struct delta_cache *cache, uint64_t page, const uint8_t *content)
{
    if (!mark_sent(cache, page, 1)) {
        return;
    }
    struct place place = find_and_lock(cache, page);
    if (place.way < WAYS) {
        place.set->used |= (uint8_t)(1u << place.way);
    } else {
        place.way = make_room(cache, place.set);
    }
    if (place.way < WAYS) {
        place.set->tags[place.way] = page + 1;
        memcpy(content_of(cache, &place), content, ENGINE_PAGE_SIZE);
    }
    unlock(&place);
}

bool delta_cache_has(struct delta_cache *cache, uint64_t page)
{
    if (delta_cache_count(cache) == 0) {
        return false;
    }
    struct place place = find_and_lock(cache, page);
    unlock(&place);
    return place.way < WAYS;
}

static void subtract(const uint8_t *restrict content, const uint8_t *restrict base,
                     uint8_t *restrict difference)
{
    for (size_t at = 0; at < ENGINE_PAGE_SIZE; at++) {
        difference[at] = content[at] ^ base[at];
    }
}

bool delta_cache_subtract(struct delta_cache *cache, uint64_t page, const uint8_t *content,
                          uint8_t *difference)
{
    struct place place = find_and_lock(cache, page);
    if (place.way < WAYS) {
        subtract(content, content_of(cache, &place), difference);
    }
    unlock(&place);
    return place.way < WAYS;
}
