/*
 * The dirty tracker on a real process: a child maps the RAM file and does to it what guests,
 * balloons and the kernel do; the parent tracks it from outside. Everything is tried on a tmpfs of
 * small pages and on one of huge pages, each mounted in a mount namespace of our own; on the latter
 * by several threads.
 */
#include "test.h"

#include <unistd.h>

#include "engine/guest.h"
#include "engine/tracker.h"
#include "guest_process.h"

#define PAGES 81920u /* 320 MiB: room for more separate runs than one scan can tell */
#define MEMORY_SIZE ((uint64_t)PAGES * ENGINE_PAGE_SIZE)

struct fixture {
    struct guest_process process;
    struct engine_tracker tracker;
    struct page_set dirty, dropped;
};

static const char *missing; /* why nothing here can be tested */

static void give(struct fixture *fixture, struct order order)
{
    guest_process_order(&fixture->process, order);
}

static void collect_part(struct fixture *fixture, struct page_run within,
                         const struct page_set *skip)
{
    struct error err = ERROR_NONE;
    page_set_clear(&fixture->dirty);
    page_set_clear(&fixture->dropped);
    if (engine_tracker_collect_dirty(&fixture->tracker, within, skip, &fixture->dirty,
                                     &fixture->dropped, &err) < 0) {
        fail_msg("%s", err.message);
    }
}

static void collect(struct fixture *fixture)
{
    collect_part(fixture, (struct page_run){0, PAGES}, NULL);
}

static void start(struct fixture *fixture)
{
    struct error err = ERROR_NONE;
    if (engine_tracker_start(&fixture->tracker, &err) < 0) {
        fail_msg("%s", err.message);
    }
    page_set_clear(&fixture->dirty);
    assert_int_equal(engine_tracker_collect_populated(&fixture->tracker, &fixture->dirty, &err), 0);
}

static int setup(void **state, const char *options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct guest_process *process = &fixture->process;
    struct error err = ERROR_NONE;
    *state = fixture;
    if (missing) {
        return 0;
    }
    guest_process_start(process, MEMORY_SIZE, options);
    assert_int_equal(engine_tracker_init(&fixture->tracker, process->userfaultfd, process->pagemap,
                                         process->memory_fd, process->address, MEMORY_SIZE, &err),
                     0);
    int watch = engine_tracker_make_watch(process->memory_fd, &err);
    assert_true(watch >= 0);
    engine_tracker_set_watch(&fixture->tracker, watch);
    assert_int_equal(page_set_init(&fixture->dirty, PAGES), 0);
    assert_int_equal(page_set_init(&fixture->dropped, PAGES), 0);
    return 0;
}

static int setup_small(void **state)
{
    return setup(state, "size=1g,huge=never");
}

static int setup_huge(void **state)
{
    int result = setup(state, "size=1g,huge=always");
    if (!missing) {
        engine_tracker_use_threads(&((struct fixture *)*state)->tracker, 3, PAGES / 10);
    }
    return result;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (!missing) {
        engine_tracker_done(&fixture->tracker);
        guest_process_end(&fixture->process);
        page_set_done(&fixture->dirty);
        page_set_done(&fixture->dropped);
    }
    free(fixture);
    return 0;
}

static struct fixture *fixture_of(void **state)
{
    if (missing) {
        print_message("# skipped: %s\n", missing);
        skip();
    }
    return *state;
}

static void test_tells_exactly_the_pages_written(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    for (uint64_t page = 0; page < 2048; page++) {
        assert_true(page_set_has(&fixture->dirty, page));
    }
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), 0);
    give(fixture, (struct order){WRITE, 3, 4000, 37, 2}); /* mapped before, and not */
    give(fixture, (struct order){READ, 5000, 2000, 1, 0});
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), (4000 + 36) / 37);
    for (uint64_t page = 3; page < 4003; page += 37) {
        assert_true(page_set_has(&fixture->dirty, page));
    }
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), 0);
    assert_int_equal(page_set_count(&fixture->dropped), 0);
}

static void test_goes_on_where_the_vector_was_full(void **state)
{
    struct fixture *fixture = fixture_of(state);
    start(fixture);
    give(fixture, (struct order){WRITE, 1, PAGES - 1, 2, 1});
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), PAGES / 2);
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), 0);
}

static void test_tells_pages_given_back(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 4096, 1, 1});
    start(fixture);
    give(fixture, (struct order){PUNCH, 100, 50, 1, 0});
    give(fixture, (struct order){REMOVE, 1024, 1024, 1, 0});
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dropped), 50 + 1024);
    assert_true(page_set_has(&fixture->dropped, 100) && page_set_has(&fixture->dropped, 2047));
    assert_int_equal(page_set_count(&fixture->dirty), 0);
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dropped), 0);
}

static void test_tells_pages_given_back_and_only_read_since(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){PUNCH, 512, 512, 1, 0});
    give(fixture, (struct order){READ, 512, 512, 1, 0});
    collect(fixture);
    for (uint64_t page = 512; page < 1024; page++) {
        assert_true(page_set_has(&fixture->dropped, page) || page_set_has(&fixture->dirty, page));
    }
}

static void test_tells_neighbours_of_a_page_written_into_a_hole(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){PUNCH, 512, 512, 1, 0});
    give(fixture, (struct order){UNMAP, 512, 512, 1, 0}); /* as QEMU's balloon does */
    give(fixture, (struct order){WRITE, 600, 1, 1, 9});
    collect(fixture);
    assert_true(page_set_has(&fixture->dirty, 600));
    assert_false(page_set_has(&fixture->dropped, 600));
    for (uint64_t page = 512; page < 1024; page++) {
        assert_true(page_set_has(&fixture->dropped, page) || page_set_has(&fixture->dirty, page));
    }
}

static void test_tells_pages_written_and_then_given_back(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){WRITE, 512, 512, 1, 2});
    give(fixture, (struct order){PUNCH, 512, 512, 1, 0});
    give(fixture, (struct order){UNMAP, 512, 512, 1, 0});
    collect(fixture);
    for (uint64_t page = 512; page < 1024; page++) {
        assert_true(page_set_has(&fixture->dropped, page));
        assert_false(page_set_has(&fixture->dirty, page));
    }
}

static void test_tells_pages_written_and_then_unmapped(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){WRITE, 512, 512, 1, 2});
    give(fixture, (struct order){UNMAP, 512, 512, 1, 0});
    collect(fixture);
    for (uint64_t page = 512; page < 1024; page++) {
        assert_true(page_set_has(&fixture->dirty, page));
    }
}

static void test_tells_writes_into_holes_and_after_unmapping(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){UNMAP, 0, 2048, 1, 0});
    collect(fixture);
    collect(fixture);
    give(fixture, (struct order){WRITE, 700, 3, 1, 2});
    give(fixture, (struct order){WRITE, 8192, 1, 1, 2});
    collect(fixture);
    assert_true(page_set_has(&fixture->dirty, 700) && page_set_has(&fixture->dirty, 702));
    assert_true(page_set_has(&fixture->dirty, 8192));
}

static void test_finds_data_that_nobody_has_mapped(void **state)
{
    struct fixture *fixture = fixture_of(state);
    assert_int_equal(pwrite(fixture->process.memory_fd, "x", 1, 3000 * ENGINE_PAGE_SIZE), 1);
    start(fixture);
    assert_true(page_set_has(&fixture->dirty, 3000));
}

static void test_tells_pages_given_back_where_the_file_cannot_be_watched(void **state)
{
    struct fixture *fixture = fixture_of(state);
    close(fixture->tracker.watch);
    fixture->tracker.watch = -1;
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){PUNCH, 512, 512, 1, 0});
    give(fixture, (struct order){READ, 600, 1, 1, 0});
    collect(fixture);
    for (uint64_t page = 512; page < 1024; page++) {
        assert_true(page_set_has(&fixture->dropped, page));
    }
}

static void test_collects_a_part_and_leaves_the_rest(void **state)
{
    struct fixture *fixture = fixture_of(state);
    start(fixture);
    give(fixture, (struct order){WRITE, 900, 300, 1, 1});
    collect_part(fixture, (struct page_run){1000, 100}, NULL);
    assert_int_equal(page_set_count(&fixture->dirty), 100);
    assert_true(page_set_has(&fixture->dirty, 1000) && page_set_has(&fixture->dirty, 1099));
    collect_part(fixture, (struct page_run){1000, 100}, NULL);
    assert_int_equal(page_set_count(&fixture->dirty), 0);
    give(fixture, (struct order){WRITE, 1050, 1, 1, 2});
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), 200 + 1);
}

static void test_tells_pages_given_back_only_for_all_of_memory(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){WRITE, 0, 2048, 1, 1});
    start(fixture);
    give(fixture, (struct order){PUNCH, 512, 512, 1, 0});
    collect_part(fixture, (struct page_run){0, 2048}, NULL);
    assert_int_equal(page_set_count(&fixture->dropped), 0);
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dropped), 512);
}

static void test_reports_skipped_pages_once_they_are_asked_for(void **state)
{
    struct fixture *fixture = fixture_of(state);
    struct page_set skip;
    assert_int_equal(page_set_init(&skip, PAGES), 0);
    page_set_add(&skip, (struct page_run){1024, 2048});
    page_set_add(&skip, (struct page_run){5000, 2});
    start(fixture);
    give(fixture, (struct order){WRITE, 1000, 4100, 1, 1});
    collect_part(fixture, (struct page_run){0, PAGES}, &skip);
    for (uint64_t page = 1000; page < 5100; page++) {
        bool skipped = page >= 1024 && page < 3072;
        bool either = page == 5000 || page == 5001; /* too few to be left out */
        assert_true(either || page_set_has(&fixture->dirty, page) == !skipped);
        page_set_remove(&fixture->dirty, (struct page_run){page, 1});
    }
    assert_int_equal(page_set_count(&fixture->dirty), 0);
    collect_part(fixture, (struct page_run){2000, 100}, NULL);
    assert_int_equal(page_set_count(&fixture->dirty), 100);
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), 2048 - 100);
    page_set_done(&skip);
}

static void test_starts_again_after_a_stop(void **state)
{
    struct fixture *fixture = fixture_of(state);
    start(fixture);
    engine_tracker_stop(&fixture->tracker);
    give(fixture, (struct order){WRITE, 0, 10, 1, 1});
    start(fixture);
    give(fixture, (struct order){WRITE, 20, 5, 1, 1});
    collect(fixture);
    assert_int_equal(page_set_count(&fixture->dirty), 5);
    engine_tracker_stop(&fixture->tracker);
}

#define ON_BOTH(test)                                           \
    {"small pages: " #test, test, setup_small, teardown, NULL}, \
    {                                                           \
        "huge pages: " #test, test, setup_huge, teardown, NULL  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_tells_exactly_the_pages_written),
        ON_BOTH(test_goes_on_where_the_vector_was_full),
        ON_BOTH(test_tells_pages_given_back),
        ON_BOTH(test_tells_pages_given_back_and_only_read_since),
        ON_BOTH(test_tells_neighbours_of_a_page_written_into_a_hole),
        ON_BOTH(test_tells_pages_written_and_then_given_back),
        ON_BOTH(test_tells_pages_written_and_then_unmapped),
        ON_BOTH(test_tells_writes_into_holes_and_after_unmapping),
        ON_BOTH(test_finds_data_that_nobody_has_mapped),
        ON_BOTH(test_tells_pages_given_back_where_the_file_cannot_be_watched),
        ON_BOTH(test_collects_a_part_and_leaves_the_rest),
        ON_BOTH(test_tells_pages_given_back_only_for_all_of_memory),
        ON_BOTH(test_reports_skipped_pages_once_they_are_asked_for),
        ON_BOTH(test_starts_again_after_a_stop),
    };
    missing = guest_process_missing();
    return cmocka_run_group_tests_name("engine/tracker", tests, NULL, NULL);
}
