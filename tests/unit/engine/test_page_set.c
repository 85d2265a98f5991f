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

static void add_some(struct page_set *set)
{
    for (uint64_t page = 0; page < PAGES; page++) {
        if (random_below(3) == 0) {
            page_set_add(set, (struct page_run){page, 1});
        }
    }
}

/* What the algebra of a stretch must do to page `page`. */
static void check_page(uint64_t page, struct page_run within, const struct page_set *left,
                       const struct page_set *right, const struct page_set results[3])
{
    bool inside = page >= within.first && page - within.first < within.count;
    bool a = page_set_has(left, page), b = page_set_has(right, page);
    assert_int_equal(page_set_has(&results[0], page), inside ? a || b : a);
    assert_int_equal(page_set_has(&results[1], page), inside ? a && !b : a);
    assert_int_equal(page_set_has(&results[2], page), inside ? a && b : a);
}

static void test_algebra_of_a_stretch(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct page_set left, right, results[3];
        struct page_run within = {.first = random_below(PAGES)};
        within.count = random_below(PAGES - within.first + 1);
        assert_int_equal(page_set_init(&left, PAGES) + page_set_init(&right, PAGES), 0);
        add_some(&left);
        add_some(&right);
        for (int j = 0; j < 3; j++) {
            assert_int_equal(page_set_init(&results[j], PAGES), 0);
            page_set_unite(&results[j], &left);
        }
        page_set_unite_within(&results[0], &right, within);
        page_set_subtract_within(&results[1], &right, within);
        page_set_intersect_within(&results[2], &right, within);
        uint64_t count = 0;
        for (uint64_t page = 0; page < PAGES; page++) {
            check_page(page, within, &left, &right, results);
            count += page - within.first < within.count && page_set_has(&left, page);
        }
        assert_int_equal(page_set_count_within(&left, within), count);
        page_set_done(&left);
        page_set_done(&right);
        for (int j = 0; j < 3; j++) {
            page_set_done(&results[j]);
        }
    }
}

static void test_span_holds_so_many_members(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct page_set set;
        assert_int_equal(page_set_init(&set, PAGES), 0);
        add_some(&set);
        uint64_t from = random_below(PAGES), members = 1 + random_below(PAGES / 2);
        uint64_t span = page_set_span(&set, from, members);
        uint64_t held = page_set_count_within(&set, (struct page_run){from, span});
        assert_true(held == members ? page_set_has(&set, from + span - 1) : held < members);
        assert_true(held == members || from + span == PAGES);
        page_set_done(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_remove),
        cmocka_unit_test(test_walk_in_runs),
        cmocka_unit_test(test_edges_of_words),
        cmocka_unit_test(test_algebra),
        cmocka_unit_test(test_algebra_of_a_stretch),
        cmocka_unit_test(test_span_holds_so_many_members),
    };
    return cmocka_run_group_tests_name("engine/page_set", tests, NULL, NULL);
}
