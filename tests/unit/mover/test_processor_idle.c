/* What a move may use of the processors: the parser, the arithmetic, and a file that is read now
 * and then. */
#include "test.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "mover/processor_idle.h"

#define MS NANOSECONDS_PER_MILLISECOND
#define SECOND NANOSECONDS_PER_SECOND

static void assert_near(double value, double expected)
{
    if (value < expected - 1e-9 || value > expected + 1e-9) {
        fail_msg("%f, expected %f", value, expected);
    }
}

static void idle_and_waiting_for_disks_is_idle(void **state)
{
    uint64_t ticks = 7;
    (void)state;
    assert_int_equal(
        processor_idle_parse("cpu  10 20 30 4000 500 6 7 8 9 10\ncpu0 1 2 3 4 5", &ticks), 0);
    assert_int_equal(ticks, 4500);
    assert_int_equal(processor_idle_parse("cpu  0 0 0 18446744073709000000 0", &ticks), 0);
    assert_true(ticks == 18446744073709000000u);
}

static void what_is_no_statistics_is_refused(void **state)
{
    static const char *const texts[] = {"", "cpu", "cpu 1 2 3 4", "intr 1 2 3 4 5 6",
                                        "cpu one two three four five"};
    uint64_t ticks = 7;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(processor_idle_parse(texts[i], &ticks), -EPROTO);
        assert_int_equal(ticks, 7);
    }
}

/* The share after an interval in which so many processors were idle, and so many ours. */
static double share_of(double idle_processors, double own_processors, unsigned lanes)
{
    struct processor_idle idle;
    struct processor_times times = {5 * SECOND, 100 * SECOND, SECOND};
    processor_idle_init(&idle, -1);
    processor_idle_note(&idle, &times);
    times.now_ns += 200 * MS;
    times.idle_ns += (uint64_t)(idle_processors * 200 * MS);
    times.own_ns += (uint64_t)(own_processors * 200 * MS);
    processor_idle_note(&idle, &times);
    return processor_idle_share(&idle, times.now_ns, lanes);
}

static void what_is_idle_or_ours_is_shared_by_the_lanes(void **state)
{
    (void)state;
    assert_near(share_of(0.75, 0, 1), 0.75);
    assert_near(share_of(0.5, 1.5, 4), 0.5);
    assert_near(share_of(8, 0, 4), 1);
    assert_near(share_of(1, 0.5, 0), 1);
}

static void a_move_has_its_part_of_a_busy_host(void **state)
{
    (void)state;
    assert_near(share_of(0, 0, 1), 0.5);
    assert_near(share_of(0.25, 0, 1), 0.5);
    assert_near(share_of(0, 0.1, 5), 0.1);
}

static void nobody_is_held_back_without_knowledge(void **state)
{
    struct processor_idle idle;
    (void)state;
    processor_idle_init(&idle, -1);
    assert_near(processor_idle_share(&idle, SECOND, 64), 1);
    assert_near(processor_idle_share(&idle, 2 * SECOND, 64), 1);
}

static void time_that_steps_back_is_none(void **state)
{
    struct processor_idle idle;
    struct processor_times times = {SECOND, 100 * SECOND, SECOND};
    (void)state;
    processor_idle_init(&idle, -1);
    processor_idle_note(&idle, &times);
    times.now_ns += SECOND;
    times.idle_ns -= 10 * MS;
    processor_idle_note(&idle, &times);
    assert_near(idle.processors, 0);
}

static void write_statistics(int fd, const char *text)
{
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
}

static void the_file_is_read_no_more_often_than_it_pays(void **state)
{
    struct processor_idle idle;
    (void)state;
    CLEANUP_CLOSE int fd = memfd_create("stat", MFD_CLOEXEC);
    write_statistics(fd, "cpu  0 0 0 1000 0 0 0\n");
    processor_idle_init(&idle, fd);
    assert_near(processor_idle_share(&idle, SECOND, 1), 1);
    write_statistics(fd, "garbage, were it read");
    assert_near(processor_idle_share(&idle, SECOND + PROCESSOR_IDLE_INTERVAL_NS - 1, 1), 1);
    assert_int_equal(idle.fd, fd);
    write_statistics(fd, "cpu  0 0 0 6000000 0 0 0\n");
    assert_near(processor_idle_share(&idle, 2 * SECOND, 16), 1);
    assert_true(idle.processors > 16 && idle.processors < 1e9);
    write_statistics(fd, "garbage");
    assert_near(processor_idle_share(&idle, 3 * SECOND, 16), 1);
    assert_int_equal(idle.fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_and_waiting_for_disks_is_idle),
        cmocka_unit_test(what_is_no_statistics_is_refused),
        cmocka_unit_test(what_is_idle_or_ours_is_shared_by_the_lanes),
        cmocka_unit_test(a_move_has_its_part_of_a_busy_host),
        cmocka_unit_test(nobody_is_held_back_without_knowledge),
        cmocka_unit_test(time_that_steps_back_is_none),
        cmocka_unit_test(the_file_is_read_no_more_often_than_it_pays),
    };
    return cmocka_run_group_tests_name("mover/processor-idle", tests, NULL, NULL);
}
