/* How many connections pay: a link whose rate depends on them, watched in windows. */
#include "test.h"

#include "base/clock.h"
#include "mover/lane_count.h"

#define STEP_NS (10 * NANOSECONDS_PER_MILLISECOND)
#define STEPS 200

/* What so many lanes send in a second. */
typedef uint64_t rate_function(unsigned lanes);

static uint64_t gains_up_to_three(unsigned lanes)
{
    return (uint64_t)1000000000 * (lanes < 3 ? lanes : 3);
}

static uint64_t never_gains(unsigned lanes)
{
    (void)lanes;
    return 1000000000;
}

static uint64_t always_gains(unsigned lanes)
{
    return (uint64_t)1000000000 * lanes;
}

static uint64_t gains_little(unsigned lanes)
{
    return 1000000000 + (uint64_t)50000000 * lanes;
}

static uint64_t crawls(unsigned lanes)
{
    return (uint64_t)1000000 * lanes; /* a window never sees enough */
}

static void watch(struct lane_count *count, rate_function *rate)
{
    uint64_t now_ns = 0, bytes = 0;
    lane_count_resume(count, now_ns, bytes);
    for (int i = 0; i < STEPS; i++) {
        now_ns += STEP_NS;
        bytes += rate(count->active) * STEP_NS / NANOSECONDS_PER_SECOND;
        unsigned active = lane_count_sample(count, now_ns, bytes);
        assert_int_equal(active, count->active);
        assert_in_range(active, 1, count->most);
    }
}

static unsigned settle_on(unsigned least, unsigned most, rate_function *rate)
{
    struct lane_count count;
    lane_count_init(&count, least, most);
    watch(&count, rate);
    return count.active;
}

static void one_more_is_added_as_long_as_that_pays(void **state)
{
    (void)state;
    assert_int_equal(settle_on(1, 8, gains_up_to_three), 3);
    assert_int_equal(settle_on(1, 8, never_gains), 1);
    assert_int_equal(settle_on(1, 8, gains_little), 1);
    assert_int_equal(settle_on(1, 8, always_gains), 8);
}

static void there_are_never_fewer_than_at_first(void **state)
{
    (void)state;
    assert_int_equal(settle_on(2, 8, never_gains), 2);
    assert_int_equal(settle_on(4, 4, never_gains), 4);
    assert_int_equal(settle_on(6, 4, always_gains), 4);
}

static void what_settled_stays(void **state)
{
    struct lane_count count;
    (void)state;
    lane_count_init(&count, 1, 8);
    watch(&count, never_gains);
    assert_true(count.settled);
    watch(&count, always_gains);
    assert_int_equal(count.active, 1);
}

static void too_few_bytes_say_nothing(void **state)
{
    (void)state;
    assert_int_equal(settle_on(1, 8, crawls), 1);
}

/* A pause between two rounds is no lower rate. */
static void time_between_rounds_does_not_count(void **state)
{
    struct lane_count count;
    uint64_t now_ns = 0, bytes = 0;
    (void)state;
    lane_count_init(&count, 1, 4);
    for (int i = 0; i < STEPS; i++) {
        now_ns += NANOSECONDS_PER_SECOND * (uint64_t)(i % 3);
        lane_count_resume(&count, now_ns, bytes);
        now_ns += 5 * STEP_NS;
        bytes += always_gains(count.active) * 5 * STEP_NS / NANOSECONDS_PER_SECOND;
        lane_count_sample(&count, now_ns, bytes);
    }
    assert_int_equal(count.active, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_more_is_added_as_long_as_that_pays),
        cmocka_unit_test(there_are_never_fewer_than_at_first),
        cmocka_unit_test(what_settled_stays),
        cmocka_unit_test(too_few_bytes_say_nothing),
        cmocka_unit_test(time_between_rounds_does_not_count),
    };
    return cmocka_run_group_tests_name("mover/lane-count", tests, NULL, NULL);
}
