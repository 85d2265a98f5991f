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

static void note(struct fixture *fixture, struct page_run run)
{
    page_set_clear(&fixture->set);
    page_set_add(&fixture->set, run);
    heat_note(&fixture->heat, &fixture->set, NANOSECONDS_PER_SECOND);
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
    note(fixture, (struct page_run){3 * HEAT_UNIT_PAGES, HEAT_UNIT_PAGES});
    note(fixture, (struct page_run){PAGES - 10, 10}); /* in the last unit, a short one */
    page_set_clear(where);
    uint64_t all = heat_rest(&fixture->heat, where);
    assert_int_equal(all, (HEAT_UNIT_PAGES * 3 / 2 + 10) * ENGINE_PAGE_SIZE / 3);
    assert_int_equal(heat_cover(&fixture->heat, all / 2, where), 0);
    assert_int_equal(page_set_count(where), HEAT_UNIT_PAGES);
    assert_true(page_set_has(where, 3 * HEAT_UNIT_PAGES));
    assert_true(heat_rest(&fixture->heat, where) <= all / 2);
    assert_int_equal(heat_cover(&fixture->heat, 0, where), 0); /* adds to it */
    assert_int_equal(page_set_count(where), 2 * HEAT_UNIT_PAGES + 100);
    assert_int_equal(heat_rest(&fixture->heat, where), 0);
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
    };
    return cmocka_run_group_tests_name("engine/heat", tests, NULL, NULL);
}
