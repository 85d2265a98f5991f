/* The memory of what was sent, against a plain copy of what a destination would hold. */
#include "test.h"

#include <pthread.h>

#include "engine/delta_cache.h"
#include "engine/guest.h"
#include "pack_samples.h"

#define PAGES 2000u
#define ROOM (1000u * ENGINE_PAGE_SIZE)

/* A page whose every word is `value`. */
static const uint8_t *page_of(uint64_t value)
{
    static __thread uint64_t words[ENGINE_PAGE_SIZE / sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        words[i] = value;
    }
    return (const uint8_t *)words;
}

/* Whether the cache holds the page; its content must be just this then. */
static bool holds(struct delta_cache *cache, uint64_t page, uint64_t value)
{
    static __thread uint64_t difference[ENGINE_PAGE_SIZE / sizeof(uint64_t)];
    if (!delta_cache_subtract(cache, page, page_of(value), (uint8_t *)difference)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(difference) / sizeof(difference[0]); i++) {
        assert_int_equal(difference[i], 0);
    }
    return true;
}

static struct delta_cache *new_cache(uint64_t room)
{
    struct delta_cache *cache = delta_cache_new(PAGES, room, NULL);
    assert_non_null(cache);
    return cache;
}

static void test_kept_from_the_second_time_on(void **state)
{
    (void)state;
    struct delta_cache *cache = new_cache(ROOM);
    assert_false(delta_cache_was_sent(cache, 5));
    delta_cache_store(cache, 5, page_of(1));
    assert_true(delta_cache_was_sent(cache, 5));
    assert_false(holds(cache, 5, 1));
    delta_cache_store(cache, 5, page_of(2));
    assert_true(holds(cache, 5, 2));
    delta_cache_forget(cache, (struct page_run){.first = 6, .count = 1});
    delta_cache_store(cache, 6, page_of(3));
    assert_true(holds(cache, 6, 3));
    assert_int_equal(delta_cache_count(cache), 2);
    delta_cache_free(cache);
}

static void test_forgets(void **state)
{
    (void)state;
    struct delta_cache *cache = new_cache(ROOM);
    for (uint64_t page = 100; page < 200; page++) {
        delta_cache_store(cache, page, page_of(page));
        delta_cache_store(cache, page, page_of(page));
    }
    uint64_t before = delta_cache_count(cache);
    assert_in_range(before, 90, 100);
    delta_cache_forget(cache, (struct page_run){.first = 60, .count = 130});
    for (uint64_t page = 100; page < 190; page++) {
        assert_false(holds(cache, page, page));
    }
    assert_in_range(delta_cache_count(cache), 1, 10);
    for (uint64_t page = 60; page < 190; page++) {
        assert_true(delta_cache_was_sent(cache, page));
    }
    assert_false(delta_cache_was_sent(cache, 59));
    assert_false(delta_cache_was_sent(cache, 200));
    delta_cache_free(cache);
}

/* Whatever is sent how: an entry is what the destination holds. */
static void test_entries_equal_the_destination(void **state)
{
    (void)state;
    struct delta_cache *cache = new_cache(ROOM / 4);
    struct sample_random random = {7};
    uint64_t there[PAGES] = {0}, held = 0;
    for (uint64_t i = 1; i < 100000; i++) {
        uint64_t page = sample_next(&random) % PAGES;
        there[page] = i;
        if (sample_next(&random) % 4) {
            delta_cache_store(cache, page, page_of(i));
        } else {
            delta_cache_forget(cache, (struct page_run){.first = page, .count = 1});
        }
        if (i % 100 == 0) {
            page = sample_next(&random) % PAGES;
            held += holds(cache, page, there[page]);
        }
    }
    assert_in_range(held, 50, 400);
    assert_in_range(delta_cache_count(cache), 100, 250);
    delta_cache_free(cache);
}

/* Rounds over twice and four times as much as fits still find a good part. */
static void test_a_sweep_does_not_wash_it_out(void **state)
{
    (void)state;
    for (uint64_t divisor = 2; divisor <= 4; divisor += 2) {
        struct delta_cache *cache = new_cache((uint64_t)PAGES * ENGINE_PAGE_SIZE / divisor);
        uint64_t hits = 0;
        for (int round = 0; round < 12; round++) {
            hits = 0;
            for (uint64_t page = 0; page < PAGES; page++) {
                hits += delta_cache_has(cache, page);
                delta_cache_store(cache, page, page_of(page));
            }
        }
        assert_true(hits > PAGES / divisor / 2);
        delta_cache_free(cache);
    }
}

/* What is no longer sent makes room for what is. */
static void test_makes_room_in_time(void **state)
{
    (void)state;
    struct delta_cache *cache = new_cache(200 * ENGINE_PAGE_SIZE);
    for (uint64_t base = 0; base < PAGES; base += PAGES / 2) {
        uint64_t hits = 0;
        for (int round = 0; round < 40; round++) {
            for (uint64_t page = base; page < base + 100; page++) {
                delta_cache_store(cache, page, page_of(page));
            }
        }
        for (uint64_t page = base; page < base + 100; page++) {
            hits += holds(cache, page, page);
        }
        assert_true(hits > 90);
        for (uint64_t page = base + 100; base == 0 && page < 700; page++) {
            delta_cache_store(cache, page, page_of(page));
            delta_cache_store(cache, page, page_of(page));
        }
    }
    delta_cache_free(cache);
}

struct lane {
    struct delta_cache *cache;
    uint64_t first;
    pthread_t thread;
};

static void *run_lane(void *context)
{
    struct lane *lane = context;
    for (uint64_t round = 1; round < 30; round++) {
        for (uint64_t page = lane->first; page < PAGES; page += 4) {
            holds(lane->cache, page, round - 1);
            delta_cache_store(lane->cache, page, page_of(round));
        }
    }
    return NULL;
}

/* Neighbouring pages in four threads: for ThreadSanitizer too. */
static void test_lanes_share_it(void **state)
{
    (void)state;
    struct delta_cache *cache = new_cache(ROOM);
    struct lane lanes[4];
    for (uint64_t i = 0; i < 4; i++) {
        lanes[i] = (struct lane){.cache = cache, .first = i};
        assert_int_equal(pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]), 0);
    }
    for (uint64_t i = 0; i < 4; i++) {
        pthread_join(lanes[i].thread, NULL);
    }
    uint64_t held = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_int_equal(delta_cache_has(cache, page), holds(cache, page, 29));
        held += delta_cache_has(cache, page);
    }
    assert_int_equal(held, delta_cache_count(cache));
    assert_in_range(held, 500, 1000);
    delta_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_from_the_second_time_on),
        cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_entries_equal_the_destination),
        cmocka_unit_test(test_a_sweep_does_not_wash_it_out),
        cmocka_unit_test(test_makes_room_in_time),
        cmocka_unit_test(test_lanes_share_it),
    };
    return cmocka_run_group_tests_name("delta-cache", tests, NULL, NULL);
}
