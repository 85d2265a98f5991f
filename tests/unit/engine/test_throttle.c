/* The schedule that paced writers keep, played through with a clock of our own. */
#include "test.h"

#include "base/clock.h"
#include "engine/guest.h"
#include "engine/throttle.h"

#define MILLISECOND NANOSECONDS_PER_MILLISECOND
#define START_NS (1000 * MILLISECOND)

/* How many pages a lone writer gets in `duration_ns`, who comes back `pause_ns` after each, and
 * whose waker is `late_ns` late. */
static uint64_t pages_in(struct throttle *throttle, uint64_t duration_ns, uint64_t pause_ns,
                         uint64_t late_ns)
{
    uint64_t pages = 0;
    for (uint64_t now_ns = START_NS; now_ns < START_NS + duration_ns; pages++) {
        uint64_t due_ns = throttle_due_ns(throttle, now_ns);
        now_ns = due_ns > now_ns ? due_ns + late_ns : now_ns;
        throttle_charge(throttle, 1, now_ns);
        now_ns += pause_ns;
    }
    return pages;
}

static void assert_about(uint64_t value, uint64_t wanted)
{
    assert_in_range(value, wanted * 98 / 100, wanted * 102 / 100 + 2);
}

static void test_keeps_the_rate(void **state)
{
    (void)state;
    struct throttle throttle;
    throttle_set(&throttle, 1000 * ENGINE_PAGE_SIZE);
    assert_about(pages_in(&throttle, NANOSECONDS_PER_SECOND, 1000, 0), 1000);
    throttle_set(&throttle, 20000 * ENGINE_PAGE_SIZE);
    assert_about(pages_in(&throttle, NANOSECONDS_PER_SECOND, 1000, 0), 20000);
}

static void test_makes_up_for_late_timers(void **state)
{
    (void)state;
    struct throttle throttle;
    throttle_set(&throttle, 20000 * ENGINE_PAGE_SIZE);
    assert_about(pages_in(&throttle, NANOSECONDS_PER_SECOND, 1000, 70000), 20000);
}

static void test_forgives_a_slow_writer_and_saves_nothing_up(void **state)
{
    (void)state;
    struct throttle throttle;
    throttle_set(&throttle, 1000 * ENGINE_PAGE_SIZE);
    throttle_charge(&throttle, 1, START_NS);
    uint64_t later_ns = START_NS + 500 * MILLISECOND;
    unsigned at_once = 0;
    while (throttle_due_ns(&throttle, later_ns) == later_ns) {
        throttle_charge(&throttle, 1, later_ns);
        at_once++;
    }
    assert_in_range(at_once, 1, 4);
}

static void test_nobody_waits_longer_than_the_bound(void **state)
{
    (void)state;
    static const uint64_t rates[] = {0, 1, ENGINE_PAGE_SIZE, 64 * ENGINE_PAGE_SIZE, UINT64_MAX};
    struct throttle throttle;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        throttle_set(&throttle, rates[i]);
        for (unsigned writer = 0; writer < 100; writer++) {
            throttle_charge(&throttle, throttle_batch(&throttle), START_NS);
        }
        assert_true(throttle_due_ns(&throttle, START_NS) <= START_NS + THROTTLE_LONGEST_WAIT_NS);
    }
}

static void test_without_a_rate_nobody_waits(void **state)
{
    (void)state;
    struct throttle throttle;
    throttle_set(&throttle, ENGINE_PAGE_SIZE);
    throttle_charge(&throttle, 1, START_NS);
    throttle_set(&throttle, UINT64_MAX);
    assert_int_equal(throttle_due_ns(&throttle, START_NS), START_NS);
    throttle_charge(&throttle, 64, START_NS);
    assert_int_equal(throttle_due_ns(&throttle, START_NS), START_NS);
}

static void test_batches_are_small_beside_the_rate(void **state)
{
    (void)state;
    struct throttle throttle;
    throttle_set(&throttle, 100 * ENGINE_PAGE_SIZE);
    assert_int_equal(throttle_batch(&throttle), 1);
    throttle_set(&throttle, 10000 * ENGINE_PAGE_SIZE);
    assert_int_equal(throttle_batch(&throttle), 20);
    throttle_set(&throttle, UINT64_MAX);
    assert_int_equal(throttle_batch(&throttle), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_the_rate),
        cmocka_unit_test(test_makes_up_for_late_timers),
        cmocka_unit_test(test_forgives_a_slow_writer_and_saves_nothing_up),
        cmocka_unit_test(test_nobody_waits_longer_than_the_bound),
        cmocka_unit_test(test_without_a_rate_nobody_waits),
        cmocka_unit_test(test_batches_are_small_beside_the_rate),
    };
    return cmocka_run_group_tests_name("engine/throttle", tests, NULL, NULL);
}
