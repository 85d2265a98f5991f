/* Page sets, against a plain array of booleans. */
#include "test.h"

#include "engine/page_set.h"

#define PAGES 1000u

static uint32_t random_state = 12345;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

static void assert_same(const struct page_set *set, const bool *model)
{
    uint64_t count = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_int_equal(page_set_has(set, page), model[page]);
        count += model[page];
    }
    assert_int_equal(page_set_count(set), count);
}

static struct page_run random_run(void)
{
    uint64_t first = random_below(PAGES + 1);
    return (struct page_run){first, random_below((uint32_t)(PAGES - first) + 1) / 3};
}

static void test_add_and_remove(void **state)
{
    (void)state;
    struct page_set set;
    bool model[PAGES] = {0};
    assert_int_equal(page_set_init(&set, PAGES), 0);
    for (int i = 0; i < 500; i++) {
        struct page_run run = random_run();
        bool add = random_below(2);
        add ? page_set_add(&set, run) : page_set_remove(&set, run);
        memset(model + run.first, add, run.count);
        assert_same(&set, model);
    }
    page_set_clear(&set);
    assert_int_equal(page_set_count(&set), 0);
    page_set_done(&set);
}

static void test_walk_in_runs(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct page_set set;
        bool model[PAGES] = {0}, walked[PAGES] = {0};
        assert_int_equal(page_set_init(&set, PAGES), 0);
        for (int j = 0; j < 20; j++) {
            struct page_run run = random_run();
            run.count = run.count > 70 ? run.count % 70 : run.count;
            page_set_add(&set, run);
            memset(model + run.first, true, run.count);
        }
        uint64_t most = 1 + random_below(200);
        struct page_run run;
        for (uint64_t page = 0; page_set_next_run(&set, page, most, &run);
             page = run.first + run.count) {
            assert_true(run.first >= page && run.count > 0 && run.count <= most);
            memset(walked + run.first, true, run.count);
        }
        assert_memory_equal(walked, model, sizeof(model));
        page_set_done(&set);
    }
}

static void test_edges_of_words(void **state)
{
    (void)state;
    struct page_set set;
    struct page_run run;
    assert_int_equal(page_set_init(&set, 128), 0);
    page_set_add(&set, (struct page_run){0, 128});
    assert_int_equal(page_set_count(&set), 128);
    page_set_remove(&set, (struct page_run){64, 64});
    assert_true(page_set_next_run(&set, 0, UINT64_MAX, &run));
    assert_int_equal(run.count, 64);
    assert_false(page_set_next_run(&set, 64, UINT64_MAX, &run));
    assert_false(page_set_next_run(&set, 128, UINT64_MAX, &run));
    page_set_add(&set, (struct page_run){128, 0}); /* empty, at the very end */
    page_set_done(&set);
}

static void test_algebra(void **state)
{
    (void)state;
    struct page_set left, right;
    assert_int_equal(page_set_init(&left, PAGES), 0);
    assert_int_equal(page_set_init(&right, PAGES), 0);
    page_set_add(&left, (struct page_run){10, 100});
    page_set_add(&right, (struct page_run){50, 100});
    page_set_unite(&left, &right);
    assert_int_equal(page_set_count(&left), 140);
    page_set_subtract(&left, &right);
    assert_int_equal(page_set_count(&left), 40);
    page_set_add(&left, (struct page_run){140, 20});
    page_set_intersect(&left, &right);
    assert_int_equal(page_set_count(&left), 10);
    page_set_done(&left);
    page_set_done(&right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_remove),
        cmocka_unit_test(test_walk_in_runs),
        cmocka_unit_test(test_edges_of_words),
        cmocka_unit_test(test_algebra),
    };
    return cmocka_run_group_tests_name("engine/page_set", tests, NULL, NULL);
}
