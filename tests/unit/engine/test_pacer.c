/*
 * Pacing of a real process's writers: that they keep to the rate, that others are let alone, and
 * that no write is lost whatever changes hands while they write. On small pages and on huge ones.
 */
#include "test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/guest.h"
#include "engine/tracker.h"
#include "guest_process.h"

#define PAGES 16384u /* 64 MiB */
#define MEMORY_SIZE ((uint64_t)PAGES * ENGINE_PAGE_SIZE)
#define UNIT 512u
#define LARGE_PAGES (1100 * 2 * UNIT) /* all hole */
#define TURNS 5u
#define RATE (4000u * ENGINE_PAGE_SIZE) /* bytes a second */

struct fixture {
    struct guest_process process;
    struct engine_tracker tracker;
    struct page_set dirty, dropped, where;
};

static const char *missing;

static struct fixture *fixture_of(void **state)
{
    if (missing) {
        print_message("# skipped: %s\n", missing);
        skip();
    }
    return *state;
}

static void must(int result, const struct error *err)
{
    if (result < 0) {
        fail_msg("%s", err->message);
    }
}

static int setup(void **state, uint64_t pages, const char *options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct guest_process *process = &fixture->process;
    struct error err = ERROR_NONE;
    *state = fixture;
    if (missing) {
        return 0;
    }
    guest_process_start(process, pages * ENGINE_PAGE_SIZE, options);
    must(engine_tracker_init(&fixture->tracker, process->userfaultfd, process->pagemap,
                             process->memory_fd, process->address, process->memory_size, &err),
         &err);
    engine_tracker_set_watch(&fixture->tracker,
                             engine_tracker_make_watch(process->memory_fd, &err));
    assert_true(fixture->tracker.watch >= 0);
    must(engine_tracker_set_pacer(&fixture->tracker, process->pacing, process->pid, &err), &err);
    assert_int_equal(page_set_init(&fixture->dirty, pages), 0);
    assert_int_equal(page_set_init(&fixture->dropped, pages), 0);
    assert_int_equal(page_set_init(&fixture->where, pages), 0);
    if (pages == PAGES) {
        guest_process_order(process, (struct order){WRITE, 0, PAGES, 1, 1});
    }
    must(engine_tracker_start(&fixture->tracker, &err), &err);
    must(engine_tracker_collect_populated(&fixture->tracker, &fixture->dirty, &err), &err);
    return 0;
}

static int setup_large(void **state)
{
    return setup(state, LARGE_PAGES, "size=256m,huge=never");
}

static int setup_small(void **state)
{
    return setup(state, PAGES, "size=256m,huge=never");
}

static int setup_huge(void **state)
{
    return setup(state, PAGES, "size=256m,huge=always");
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (!missing) {
        engine_tracker_stop(&fixture->tracker);
        engine_tracker_done(&fixture->tracker);
        guest_process_end(&fixture->process);
        page_set_done(&fixture->dirty);
        page_set_done(&fixture->dropped);
        page_set_done(&fixture->where);
    }
    free(fixture);
    return 0;
}

static void give(struct fixture *fixture, struct order order)
{
    guest_process_order(&fixture->process, order);
}

static uint64_t collect_part(struct fixture *fixture, struct page_run within,
                             const struct page_set *skip)
{
    struct error err = ERROR_NONE;
    page_set_clear(&fixture->dirty);
    page_set_clear(&fixture->dropped);
    must(engine_tracker_collect_dirty(&fixture->tracker, within, skip, &fixture->dirty,
                                      &fixture->dropped, &err),
         &err);
    return page_set_count(&fixture->dirty);
}

static uint64_t collect(struct fixture *fixture)
{
    return collect_part(fixture, (struct page_run){0, PAGES}, NULL);
}

static void pace(struct fixture *fixture, struct page_run run, uint64_t bytes_per_second)
{
    struct error err = ERROR_NONE;
    page_set_clear(&fixture->where);
    page_set_add(&fixture->where, run);
    must(engine_tracker_pace(&fixture->tracker, &fixture->where, bytes_per_second, &err), &err);
}

/* ---- how fast ---- */

struct measure {
    double dirtied;   /* pages a second */
    double writes[2]; /* of the hammers, a second */
};

static struct measure measure(struct fixture *fixture, uint64_t duration_ns)
{
    struct measure result = {0};
    const volatile uint64_t *hammered = fixture->process.hammered;
    uint64_t before[] = {hammered[0], hammered[1]};
    collect(fixture);
    uint64_t began_ns = clock_monotonic_ns(), now_ns;
    do {
        clock_sleep_ns(50 * NANOSECONDS_PER_MILLISECOND);
        result.dirtied += (double)collect_part(fixture, (struct page_run){0, PAGES / 2}, NULL);
        now_ns = clock_monotonic_ns();
    } while (now_ns - began_ns < duration_ns);
    double seconds = (double)(now_ns - began_ns) / NANOSECONDS_PER_SECOND;
    result.dirtied /= seconds;
    for (size_t i = 0; i < 2; i++) {
        result.writes[i] = (double)(hammered[i] - before[i]) / seconds;
    }
    return result;
}

static void test_writers_keep_to_the_rate(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){HAMMER, 0, PAGES / 2, 1, 0});
    struct measure free_run = measure(fixture, 300 * NANOSECONDS_PER_MILLISECOND);
    pace(fixture, (struct page_run){0, PAGES / 2}, RATE);
    struct measure paced = measure(fixture, NANOSECONDS_PER_SECOND);
    pace(fixture, (struct page_run){0, PAGES / 2}, RATE / 8);
    struct measure slower = measure(fixture, NANOSECONDS_PER_SECOND);
    double waited = (double)engine_tracker_waited_ns(&fixture->tracker) / NANOSECONDS_PER_SECOND;
    engine_tracker_end_pace(&fixture->tracker);
    struct measure again = measure(fixture, 300 * NANOSECONDS_PER_MILLISECOND);
    give(fixture, (struct order){REST});
    double wanted = (double)RATE / ENGINE_PAGE_SIZE;
    print_message("# free %.0f, at %.0f: %.0f, at %.0f: %.0f, free again %.0f pages/s; "
                  "waited for %.2f s of 2\n",
                  free_run.dirtied, wanted, paced.dirtied, wanted / 8, slower.dirtied,
                  again.dirtied, waited);
    assert_true(paced.dirtied < 1.25 * wanted && slower.dirtied < 1.25 * wanted / 8);
    assert_true(slower.dirtied < paced.dirtied && paced.dirtied < free_run.dirtied / 2);
    assert_true(again.dirtied > 2 * paced.dirtied); /* how fast that is, the machine decides */
    assert_true(waited > 1);
}

static void add_writes(struct measure measured, double sums[2])
{
    sums[0] += measured.writes[0];
    sums[1] += measured.writes[1];
}

/* By turns: what else the machine does shall hit both alike. */
static void test_writers_elsewhere_are_let_alone(void **state)
{
    struct fixture *fixture = fixture_of(state);
    give(fixture, (struct order){HAMMER, 0, PAGES / 2, 1, 0});
    give(fixture, (struct order){HAMMER, PAGES / 2, PAGES / 2, 1, 1});
    double free_run[2] = {0}, paced[2] = {0};
    for (unsigned i = 0; i < TURNS; i++) {
        add_writes(measure(fixture, 200 * NANOSECONDS_PER_MILLISECOND), free_run);
        pace(fixture, (struct page_run){0, PAGES / 2}, RATE);
        add_writes(measure(fixture, 200 * NANOSECONDS_PER_MILLISECOND), paced);
        engine_tracker_end_pace(&fixture->tracker);
    }
    give(fixture, (struct order){REST});
    print_message("# the paced: %.1f %% of its writes, the other: %.1f %%\n",
                  100 * paced[0] / free_run[0], 100 * paced[1] / free_run[1]);
    assert_true(paced[0] < free_run[0] / 2);
    assert_true(paced[1] > free_run[1] / 2);
}

/* The guest's first thread: as slow a pace as may be, and it does not wait. */
static void test_the_spared_thread_does_not_wait(void **state)
{
    struct fixture *fixture = fixture_of(state);
    pace(fixture, (struct page_run){0, PAGES}, 1);
    collect(fixture);
    uint64_t began_ns = clock_monotonic_ns();
    give(fixture, (struct order){WRITE, 0, PAGES, 8, 2});
    uint64_t took_ns = clock_monotonic_ns() - began_ns;
    assert_true(took_ns < (uint64_t)PAGES / 8 * THROTTLE_LONGEST_WAIT_NS / 4);
    assert_int_equal(collect(fixture), PAGES / 8);
}

/* What a fault costs when nobody has to wait: what the guest bears for being tracked this way. */
static void test_faults_are_answered_soon(void **state)
{
    struct fixture *fixture = fixture_of(state);
    uint64_t took_ns[2];
    for (unsigned i = 0; i < 2; i++) {
        if (i == 1) {
            pace(fixture, (struct page_run){0, PAGES}, UINT64_MAX);
        }
        collect(fixture);
        uint64_t began_ns = clock_monotonic_ns();
        give(fixture, (struct order){WRITE, 0, PAGES, 4, 2});
        took_ns[i] = clock_monotonic_ns() - began_ns;
        assert_int_equal(collect(fixture), PAGES / 4);
    }
    print_message("# a first write to a page: %.1f us, through the pacer %.1f us\n",
                  (double)took_ns[0] / (PAGES / 4) / 1000, (double)took_ns[1] / (PAGES / 4) / 1000);
}

/* The time of 2,048 writes, each `step` pages after the other. */
static uint64_t time_writes(struct fixture *fixture, uint64_t step)
{
    collect(fixture);
    uint64_t began_ns = clock_monotonic_ns();
    give(fixture, (struct order){WRITE, 0, 2048 * step, step, 3});
    uint64_t took_ns = clock_monotonic_ns() - began_ns;
    uint64_t reported = collect(fixture);
    assert_true(reported >= 2048 && reported <= 2048 + 64);
    return took_ns;
}

static void test_who_goes_in_order_is_let_go_some_pages_at_once(void **state)
{
    struct fixture *fixture = fixture_of(state);
    uint64_t apart_ns = UINT64_MAX, in_order_ns = UINT64_MAX;
    pace(fixture, (struct page_run){0, PAGES}, UINT64_MAX);
    for (unsigned i = 0; i < TURNS; i++) { /* the best of each: others use the machine too */
        uint64_t took_ns = time_writes(fixture, 4);
        apart_ns = took_ns < apart_ns ? took_ns : apart_ns;
        took_ns = time_writes(fixture, 1);
        in_order_ns = took_ns < in_order_ns ? took_ns : in_order_ns;
    }
    print_message("# a page: %.1f us, in order %.1f us\n", (double)apart_ns / 2048 / 1000,
                  (double)in_order_ns / 2048 / 1000);
    assert_true(in_order_ns < apart_ns);
}

/* ---- what is reported ---- */

static void test_reports_exactly_what_is_written(void **state)
{
    struct fixture *fixture = fixture_of(state);
    pace(fixture, (struct page_run){2 * UNIT, 4 * UNIT}, UINT64_MAX);
    assert_int_equal(collect(fixture), 0); /* nobody wrote while they changed hands */
    give(fixture, (struct order){WRITE, UNIT, 6 * UNIT, 3, 2});
    assert_int_equal(collect_part(fixture, (struct page_run){3 * UNIT, 9}, NULL), 3);
    assert_int_equal(collect(fixture), 6 * UNIT / 3 - 3);
    assert_int_equal(collect(fixture), 0);
    give(fixture, (struct order){WRITE, UNIT, 6 * UNIT, 3, 3});
    assert_int_equal(collect(fixture), 6 * UNIT / 3);
    engine_tracker_end_pace(&fixture->tracker);
    assert_int_equal(collect(fixture), 4 * UNIT);
    give(fixture, (struct order){WRITE, UNIT, 6 * UNIT, 3, 4});
    assert_int_equal(collect(fixture), 6 * UNIT / 3);
}

static void test_skipped_pages_go_free_until_they_are_asked_for(void **state)
{
    struct fixture *fixture = fixture_of(state);
    struct page_set skip;
    assert_int_equal(page_set_init(&skip, PAGES), 0);
    page_set_add(&skip, (struct page_run){100, 100});
    pace(fixture, (struct page_run){0, UNIT}, UINT64_MAX);
    collect(fixture);
    give(fixture, (struct order){WRITE, 0, UNIT, 1, 2});
    assert_int_equal(collect_part(fixture, (struct page_run){0, PAGES}, &skip), UNIT - 100);
    give(fixture, (struct order){WRITE, 100, 100, 1, 3});
    assert_int_equal(collect(fixture), 100);
    assert_int_equal(collect(fixture), 0);
    page_set_done(&skip);
}

static void assert_reported(struct fixture *fixture, uint64_t first, uint64_t count)
{
    for (uint64_t page = first; page < first + count; page++) {
        assert_true(page_set_has(&fixture->dirty, page));
    }
}

/* However pages vanish, who writes them anew is seen. */
static void test_reports_writes_to_pages_given_back(void **state)
{
    static const enum deed deeds[] = {PUNCH, REMOVE, UNMAP};
    struct fixture *fixture = fixture_of(state);
    pace(fixture, (struct page_run){0, 8 * UNIT}, UINT64_MAX);
    for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
        collect(fixture);
        give(fixture, (struct order){deeds[i], 2 * UNIT, UNIT + 100, 1, 0});
        collect(fixture);
        give(fixture, (struct order){WRITE, 2 * UNIT, UNIT + 100, 1, 5});
        collect(fixture);
        assert_reported(fixture, 2 * UNIT, UNIT + 100);
        give(fixture, (struct order){deeds[i], 2 * UNIT, UNIT + 100, 1, 0});
        give(fixture, (struct order){WRITE, 2 * UNIT, UNIT + 100, 1, 5});
        collect(fixture);
        assert_reported(fixture, 2 * UNIT, UNIT + 100);
    }
}

static void pace_every_other_unit(struct fixture *fixture)
{
    struct error err = ERROR_NONE;
    page_set_clear(&fixture->where);
    for (uint64_t page = 5; page < fixture->where.pages; page += 2 * UNIT) {
        page_set_add(&fixture->where, (struct page_run){page, 1});
    }
    must(engine_tracker_pace(&fixture->tracker, &fixture->where, UINT64_MAX, &err), &err);
}

static void test_paces_whole_units(void **state)
{
    struct fixture *fixture = fixture_of(state);
    pace_every_other_unit(fixture);
    assert_int_equal(page_set_count(&fixture->tracker.pacer.paced), PAGES / 2);
    assert_int_equal(collect(fixture), 0);
    give(fixture, (struct order){WRITE, 0, PAGES, 1, 6});
    assert_int_equal(collect(fixture), PAGES);
}

static void test_many_ranges_become_fewer(void **state)
{
    struct fixture *fixture = fixture_of(state);
    pace_every_other_unit(fixture);
    assert_int_equal(page_set_count(&fixture->tracker.pacer.paced), LARGE_PAGES - UNIT);
    collect_part(fixture, (struct page_run){0, LARGE_PAGES}, NULL);
    give(fixture, (struct order){WRITE, 3, LARGE_PAGES - UNIT - 3, UNIT, 6});
    assert_int_equal(collect_part(fixture, (struct page_run){0, LARGE_PAGES}, NULL),
                     LARGE_PAGES / UNIT - 1);
}

/* ---- no write is lost ---- */

static void copy_reported(struct fixture *fixture, uint8_t *copy)
{
    struct page_run run;
    for (uint64_t page = 0; page_set_next_run(&fixture->dirty, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        uint64_t at = run.first * ENGINE_PAGE_SIZE, length = run.count * ENGINE_PAGE_SIZE;
        assert_int_equal(pread(fixture->process.memory_fd, copy + at, length, (off_t)at), length);
    }
    for (uint64_t page = 0; page_set_next_run(&fixture->dropped, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        memset(copy + run.first * ENGINE_PAGE_SIZE, 0, run.count * ENGINE_PAGE_SIZE);
    }
}

static void follow(struct fixture *fixture, uint8_t *copy)
{
    collect(fixture);
    page_set_subtract(&fixture->dropped, &fixture->dirty);
    copy_reported(fixture, copy);
}

/* Paces here and there, faster and slower, and ends it again. */
static void follow_for(struct fixture *fixture, uint8_t *copy, uint64_t duration_ns)
{
    unsigned seed = 7;
    uint64_t end_ns = clock_monotonic_ns() + duration_ns;
    for (unsigned round = 0; clock_monotonic_ns() < end_ns; round++) {
        follow(fixture, copy);
        if (round % 16 == 15) {
            engine_tracker_end_pace(&fixture->tracker);
        } else if (round % 4 == 0) {
            uint64_t first = (uint64_t)rand_r(&seed) % PAGES;
            pace(fixture, (struct page_run){first, 1 + (uint64_t)rand_r(&seed) % (PAGES - first)},
                 rand_r(&seed) % 4 ? 50 * RATE : UINT64_MAX);
        }
    }
}

static void assert_same_as(const struct fixture *fixture, const uint8_t *copy)
{
    const uint8_t *memory =
        mmap(NULL, MEMORY_SIZE, PROT_READ, MAP_SHARED, fixture->process.memory_fd, 0);
    assert_true(memory != MAP_FAILED);
    for (uint64_t page = 0; page < PAGES; page++) {
        if (memcmp(memory + page * ENGINE_PAGE_SIZE, copy + page * ENGINE_PAGE_SIZE,
                   ENGINE_PAGE_SIZE)) {
            fail_msg("a write to page %llu was lost", (unsigned long long)page);
        }
    }
    munmap((void *)memory, MEMORY_SIZE);
}

static uint8_t *first_copy(struct fixture *fixture)
{
    uint8_t *copy = calloc(PAGES, ENGINE_PAGE_SIZE);
    assert_non_null(copy);
    page_set_add(&fixture->dirty, (struct page_run){0, PAGES});
    copy_reported(fixture, copy);
    return copy;
}

static void test_no_write_is_lost(void **state)
{
    struct fixture *fixture = fixture_of(state);
    uint8_t *copy = first_copy(fixture);
    for (unsigned i = 0; i < 3; i++) {
        give(fixture, (struct order){HAMMER, 0, PAGES / 2, 1, 0});
        give(fixture, (struct order){HAMMER, PAGES / 2, PAGES / 2, 1, 1});
        follow_for(fixture, copy, 700 * NANOSECONDS_PER_MILLISECOND);
        give(fixture, (struct order){REST});
        follow(fixture, copy);
        assert_same_as(fixture, copy);
    }
    free(copy);
}

static void test_no_write_is_lost_where_pages_are_given_back(void **state)
{
    struct fixture *fixture = fixture_of(state);
    int status;
    uint8_t *copy = first_copy(fixture);
    give(fixture, (struct order){HAMMER, 0, PAGES / 4, 1, 0});
    give(fixture, (struct order){LIVE});
    for (unsigned i = 0; i < 3; i++) {
        follow_for(fixture, copy, 500 * NANOSECONDS_PER_MILLISECOND);
        kill(fixture->process.pid, SIGSTOP);
        assert_int_equal(waitpid(fixture->process.pid, &status, WUNTRACED), fixture->process.pid);
        follow(fixture, copy);
        assert_same_as(fixture, copy);
        kill(fixture->process.pid, SIGCONT);
    }
    free(copy);
}

#define ON_BOTH(test)                                           \
    {"small pages: " #test, test, setup_small, teardown, NULL}, \
    {                                                           \
        "huge pages: " #test, test, setup_huge, teardown, NULL  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_writers_keep_to_the_rate),
        ON_BOTH(test_writers_elsewhere_are_let_alone),
        ON_BOTH(test_the_spared_thread_does_not_wait),
        ON_BOTH(test_faults_are_answered_soon),
        ON_BOTH(test_who_goes_in_order_is_let_go_some_pages_at_once),
        ON_BOTH(test_reports_exactly_what_is_written),
        ON_BOTH(test_skipped_pages_go_free_until_they_are_asked_for),
        ON_BOTH(test_reports_writes_to_pages_given_back),
        ON_BOTH(test_paces_whole_units),
        {"a large guest: test_many_ranges_become_fewer", test_many_ranges_become_fewer, setup_large,
         teardown, NULL},
        ON_BOTH(test_no_write_is_lost),
        ON_BOTH(test_no_write_is_lost_where_pages_are_given_back),
    };
    missing = guest_process_missing();
    return cmocka_run_group_tests_name("engine/pacer", tests, NULL, NULL);
}
