/* Heat: what is hot, and what covers most of the writing. */
#include "test.h"

#include "base/clock.h"
#include "engine/guest.h"
#include "engine/heat.h"

#define PAGES (8 * HEAT_UNIT_PAGES + 100)

struct fixture {
    struct heat heat;
    struct page_set set;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_int_equal(heat_init(&fixture->heat, PAGES), 0);
    assert_int_equal(page_set_init(&fixture->set, PAGES), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    heat_done(&fixture->heat);
    page_set_done(&fixture->set);
    free(fixture);
    return 0;
}

#define INTERVAL_NS (20 * NANOSECONDS_PER_MILLISECOND)

static void note_for(struct fixture *fixture, struct page_run run, uint64_t duration_ns)
{
    page_set_clear(&fixture->set);
    page_set_add(&fixture->set, run);
    heat_note(&fixture->heat, &fixture->set, duration_ns);
}

static void note(struct fixture *fixture, struct page_run run)
{
    note_for(fixture, run, INTERVAL_NS);
}

static void test_nothing_is_hot_before_there_is_a_past(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i + 1 < HEAT_INTERVALS; i++) {
        note(fixture, (struct page_run){0, 10});
    }
    heat_find_hot(&fixture->heat, &fixture->set);
    assert_int_equal(page_set_count(&fixture->set), 0);
}

static void test_hot_is_written_in_all_intervals_but_one(void **state)
{
    struct fixture *fixture = *state;
    note(fixture, (struct page_run){0, 100});
    note(fixture, (struct page_run){0, 50});
    note(fixture, (struct page_run){0, 100});
    note(fixture, (struct page_run){0, 30});
    heat_find_hot(&fixture->heat, &fixture->set);
    assert_int_equal(page_set_count(&fixture->set), 50);
    assert_true(page_set_has(&fixture->set, 49));
}

static void test_what_is_no_longer_written_cools(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < HEAT_INTERVALS; i++) {
        note(fixture, (struct page_run){0, 100});
    }
    note(fixture, (struct page_run){200, 1});
    note(fixture, (struct page_run){200, 1});
    heat_find_hot(&fixture->heat, &fixture->set);
    assert_int_equal(page_set_count(&fixture->set), 0);
}

static void test_cover_takes_the_hottest_units_first(void **state)
{
    struct fixture *fixture = *state;
    struct page_set *where = &fixture->set;
    note(fixture, (struct page_run){0, HEAT_UNIT_PAGES / 2});
    note_for(fixture, (struct page_run){3 * HEAT_UNIT_PAGES, HEAT_UNIT_PAGES}, INTERVAL_NS / 2);
    note_for(fixture, (struct page_run){PAGES - 10, 10}, INTERVAL_NS / 2); /* a short unit */
    page_set_clear(where);
    uint64_t all = heat_rest(&fixture->heat, where);
    assert_int_equal(all, (HEAT_UNIT_PAGES * 3 / 2 + 10) * ENGINE_PAGE_SIZE * 25);
    assert_int_equal(heat_cover(&fixture->heat, all / 2, where), 0);
    assert_int_equal(page_set_count(where), HEAT_UNIT_PAGES);
    assert_true(page_set_has(where, 3 * HEAT_UNIT_PAGES));
    assert_true(heat_rest(&fixture->heat, where) <= all / 2);
    assert_int_equal(heat_cover(&fixture->heat, 0, where), 0); /* adds to it */
    assert_int_equal(page_set_count(where), 2 * HEAT_UNIT_PAGES + 100);
    assert_int_equal(heat_rest(&fixture->heat, where), 0);
}

/* 1,000 pages written without pause are 1,000 pages in a second, and in a tenth of one. */
static void test_a_long_interval_does_not_hide_who_writes_the_same_again(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run hot = {HEAT_UNIT_PAGES, 500};
    note_for(fixture, hot, NANOSECONDS_PER_SECOND);
    note_for(fixture, hot, 2 * NANOSECONDS_PER_SECOND);
    note_for(fixture, hot, NANOSECONDS_PER_SECOND / 20);
    page_set_clear(&fixture->set);
    uint64_t rate = heat_rest(&fixture->heat, &fixture->set);
    assert_int_equal(rate, 20 * 500 * ENGINE_PAGE_SIZE);
    assert_int_equal(heat_cover(&fixture->heat, rate / 4, &fixture->set), 0);
    assert_int_equal(page_set_count(&fixture->set), HEAT_UNIT_PAGES);
}

/* Who went through three units in a second, and is in the third now, comes to the others again. */
static void test_a_short_interval_does_not_hide_who_goes_through_much(void **state)
{
    struct fixture *fixture = *state;
    note_for(fixture, (struct page_run){0, 3 * HEAT_UNIT_PAGES}, NANOSECONDS_PER_SECOND);
    note_for(fixture, (struct page_run){2 * HEAT_UNIT_PAGES, 80}, NANOSECONDS_PER_SECOND / 20);
    page_set_clear(&fixture->set);
    uint64_t rate = heat_rest(&fixture->heat, &fixture->set);
    assert_int_equal(heat_cover(&fixture->heat, rate / 10, &fixture->set), 0);
    assert_int_equal(page_set_count(&fixture->set), 3 * HEAT_UNIT_PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_hot_before_there_is_a_past, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_hot_is_written_in_all_intervals_but_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_longer_written_cools, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cover_takes_the_hottest_units_first, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_long_interval_does_not_hide_who_writes_the_same_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_short_interval_does_not_hide_who_goes_through_much,
                                        setup, teardown),
    };
    return cmocka_run_group_tests_name("engine/heat", tests, NULL, NULL);
}
