/* Work comes due at the given rate, in time and without bursts. */
#include "../test.h"

#include "options.h"
#include "pace.h"

#define SECOND_NS 1000000000ull

static void a_rate_is_kept_over_many_ticks(void **state)
{
    struct pace pace;
    uint64_t done = 0;

    (void)state;
    pace_init(&pace, 20 << 20, 0);
    for (uint64_t now = 0; now <= 10 * SECOND_NS; now += 1234567)
        done += pace_due(&pace, now, 4096, 256);
    assert_in_range(done, 10 * 5120 - 60, 10 * 5120);
}

static void a_unit_slower_than_the_credit_still_comes_due(void **state)
{
    struct pace pace;
    uint64_t done = 0;

    (void)state;
    pace_init(&pace, 1024, 0);
    for (uint64_t now = 0; now <= 40 * SECOND_NS; now += SECOND_NS / 100)
        done += pace_due(&pace, now, 4096, 16);
    assert_in_range(done, 9, 10);
}

static void a_long_stop_is_not_made_up_for(void **state)
{
    struct pace pace;

    (void)state;
    pace_init(&pace, 4096 * 1000, 0);
    assert_in_range(pace_due(&pace, 60 * SECOND_NS, 4096, 100000), 99, 100);
}

static void idle_and_unlimited(void **state)
{
    struct pace pace;

    (void)state;
    pace_init(&pace, 0, 0);
    assert_int_equal(pace_due(&pace, SECOND_NS, 4096, 64), 0);
    pace_init(&pace, RATE_MAX, 0);
    assert_int_equal(pace_due(&pace, 1, 4096, 64), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_kept_over_many_ticks),
        cmocka_unit_test(a_unit_slower_than_the_credit_still_comes_due),
        cmocka_unit_test(a_long_stop_is_not_made_up_for),
        cmocka_unit_test(idle_and_unlimited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
