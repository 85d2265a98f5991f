/* The forecast of a move: known cases, what must hold of all of them, and a guest written page by
 * page beside it. */
#include "test.h"

#include <math.h>

#include "base/clock.h"
#include "engine/forecast.h"
#include "engine/guest.h"
#include "engine/page_set.h"

#define MS NANOSECONDS_PER_MILLISECOND
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static uint64_t random_state = 20261121;

static double random_part(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) / (double)((uint64_t)1 << 53);
}

/* Every order of magnitude as likely as another. */
static double random_scale(double low, double high)
{
    return low * pow(high / low, random_part());
}

/* A guest that writes `rate` bytes of pages a second, at random in `area` bytes. */
static struct engine_sample random_writer(double rate, double area)
{
    static const uint64_t after_ms[] = {10, 20, 50, 100, 200, 400, 800, 1600};
    struct engine_sample sample = {.memory_bytes = 8 * GIB,
                                   .populated_bytes = GIB,
                                   .packed_share = 1,
                                   .collect_ns = MS,
                                   .point_count = 8};
    for (uint32_t i = 0; i < sample.point_count; i++) {
        double seconds = (double)after_ms[i] / 1000;
        sample.points[i] = (struct engine_sample_point){
            after_ms[i] * MS, (uint64_t)(area * (1 - exp(-rate * seconds / area)))};
    }
    return sample;
}

static struct engine_sample idle_guest(void)
{
    return random_writer(0, 1);
}

static struct engine_forecast_terms fast_link(void)
{
    return (struct engine_forecast_terms){.link_rate = 1000000000,
                                          .device_state_ns = 10 * MS,
                                          .device_state_bytes = 300000,
                                          .blackout_target_ns = 50 * MS,
                                          .pace = true};
}

static struct engine_forecast_terms gigabit(void)
{
    struct engine_forecast_terms terms = fast_link();
    terms.link_rate = 118000000;
    return terms;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (fabs(value - expected) > tolerance * expected) {
        fail_msg("%g is not within %g of %g", value, tolerance, expected);
    }
}

/* ---- known cases ---- */

static void an_idle_guest_takes_its_memory_over_the_rate(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = fast_link();
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_true(forecast.keeps_target && forecast.keeps_timeout);
    assert_int_equal(forecast.rounds, 2);
    assert_near((double)forecast.duration_ns, 1.0737e9 + 12e6, 0.01);
    assert_int_equal(forecast.blackout_ns, 11 * MS);
    assert_int_equal(forecast.bytes, GIB + 300000);
    assert_int_equal(forecast.paced_ns, 0);
    assert_int_equal(forecast.limited_by, ENGINE_LIMIT_LINK);
}

static void zeroes_are_not_sent(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = fast_link();
    sample.zero_share = 0.75;
    assert_int_equal(engine_forecast(&sample, &terms).bytes, GIB / 4 + 300000);
}

static void an_almost_empty_guest_is_limited_by_its_device_state(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = fast_link();
    sample.populated_bytes = MIB;
    assert_int_equal(engine_forecast(&sample, &terms).limited_by, ENGINE_LIMIT_DEVICE_STATE);
}

static void a_bandwidth_limit_is_named(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = fast_link();
    terms.bandwidth_limit = terms.link_rate / 10;
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_int_equal(forecast.limited_by, ENGINE_LIMIT_BANDWIDTH);
    assert_near((double)forecast.duration_ns, 10.737e9, 0.01);
}

static void compression_counts_where_it_pays(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = gigabit();
    sample.packed_share = 0.5;
    terms.compress = true;
    struct engine_forecast packed = engine_forecast(&sample, &terms);
    assert_near((double)packed.bytes, (double)GIB / 2, 0.01);
    assert_near((double)packed.duration_ns, (double)GIB / 2 / 0.118, 0.01);
    terms.link_rate = 2000000000; /* faster than anything packs */
    assert_int_equal(engine_forecast(&sample, &terms).bytes, GIB + 300000);
}

static void a_writer_that_the_link_outruns_takes_some_rounds(void **state)
{
    (void)state;
    struct engine_sample sample = random_writer(0.5 * 118e6, 512.0 * (double)MIB);
    struct engine_forecast_terms terms = gigabit();
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_true(forecast.keeps_target);
    assert_in_range(forecast.rounds, 4, 12);
    assert_int_equal(forecast.paced_ns, 0);
    assert_true(forecast.bytes > GIB + GIB / 8 && forecast.bytes < 2 * GIB);
}

/* 64 MiB rewritten within some 10 ms: no link of a gigabit carries that. */
static struct engine_sample hot_set(void)
{
    struct engine_sample sample = random_writer(8e9, 64.0 * (double)MIB);
    sample.hot_bytes = 60 * MIB;
    return sample;
}

static void writers_that_outrun_the_link_are_paced(void **state)
{
    (void)state;
    struct engine_sample sample = hot_set();
    struct engine_forecast_terms terms = gigabit();
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_true(forecast.keeps_target);
    assert_true(forecast.blackout_ns <= terms.blackout_target_ns);
    assert_true(forecast.paced_ns > 0);
    assert_true(forecast.writing_lost > 0.2 && forecast.writing_lost < 1);
    assert_int_equal(forecast.limited_by, ENGINE_LIMIT_WRITERS);
}

static void without_pacing_the_target_cannot_be_kept(void **state)
{
    (void)state;
    struct engine_sample sample = hot_set();
    struct engine_forecast_terms terms = gigabit();
    terms.pace = false;
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_false(forecast.keeps_target);
    assert_int_equal(forecast.duration_ns, UINT64_MAX);
    assert_true(forecast.blackout_ns > 500 * MS);
    assert_int_equal(forecast.paced_ns, 0);
    assert_int_equal(forecast.limited_by, ENGINE_LIMIT_WRITERS);
}

static void a_time_limit_ends_it_one_way_or_the_other(void **state)
{
    (void)state;
    struct engine_sample sample = hot_set();
    struct engine_forecast_terms terms = gigabit();
    terms.pace = false;
    terms.timeout_ns = 60 * NANOSECONDS_PER_SECOND;
    struct engine_forecast given_up = engine_forecast(&sample, &terms);
    assert_false(given_up.keeps_timeout);
    assert_int_equal(given_up.duration_ns, terms.timeout_ns);
    terms.on_timeout = ENGINE_ON_TIMEOUT_STOP;
    struct engine_forecast forced = engine_forecast(&sample, &terms);
    assert_int_equal(forced.duration_ns, terms.timeout_ns + forced.blackout_ns);
}

static void a_time_limit_that_is_too_short_is_noticed(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = gigabit();
    terms.timeout_ns = 5 * NANOSECONDS_PER_SECOND; /* it takes 9 */
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_true(forecast.keeps_target);
    assert_false(forecast.keeps_timeout);
}

static void a_target_below_the_device_state_is_out_of_reach(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct engine_forecast_terms terms = fast_link();
    terms.blackout_target_ns = 5 * MS;
    struct engine_forecast forecast = engine_forecast(&sample, &terms);
    assert_false(forecast.keeps_target);
    assert_int_equal(forecast.limited_by, ENGINE_LIMIT_DEVICE_STATE);
}

static void the_curve_is_read_between_and_beyond_its_points(void **state)
{
    (void)state;
    struct engine_sample sample = {
        .memory_bytes = 1000, .point_count = 2, .points = {{10 * MS, 100}, {20 * MS, 150}}};
    assert_int_equal(engine_sample_dirtied(&sample, 0), 0);
    assert_int_equal(engine_sample_dirtied(&sample, 5 * MS), 50);
    assert_int_equal(engine_sample_dirtied(&sample, 15 * MS), 125);
    assert_int_equal(engine_sample_dirtied(&sample, 30 * MS), 200);
    assert_int_equal(engine_sample_dirtied(&sample, NANOSECONDS_PER_SECOND), 1000); /* all of it */
    assert_int_equal(engine_sample_dirty_rate(&sample), 7500);
    struct engine_sample nothing = {.memory_bytes = 1000};
    assert_int_equal(engine_sample_dirtied(&nothing, NANOSECONDS_PER_SECOND), 0);
    assert_int_equal(engine_sample_dirty_rate(&nothing), 0);
}

/* ---- what holds of all of them ---- */

static struct engine_sample any_sample(void)
{
    double area = random_scale(1e5, 4e9);
    struct engine_sample sample = random_writer(random_scale(1e4, 1e10), area);
    sample.populated_bytes = (uint64_t)random_scale(1e6, 8e9);
    sample.zero_share = random_part() * 0.9;
    sample.packed_share = 0.2 + 0.8 * random_part();
    sample.hot_bytes = (uint64_t)((double)sample.points[0].bytes * random_part());
    return sample;
}

static struct engine_forecast_terms any_terms(void)
{
    struct engine_forecast_terms terms = fast_link();
    terms.link_rate = (uint64_t)random_scale(1e6, 1e10);
    terms.blackout_target_ns = (uint64_t)random_scale(12e6, 1e9);
    terms.pace = random_part() < 0.5;
    terms.compress = random_part() < 0.5;
    return terms;
}

static void forecasts_make_sense(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct engine_sample sample = any_sample();
        struct engine_forecast_terms terms = any_terms();
        struct engine_forecast forecast = engine_forecast(&sample, &terms);
        double data = (double)sample.populated_bytes * (1 - sample.zero_share);
        assert_true(forecast.rounds >= 2);
        assert_true((double)forecast.bytes + 1 >=
                    data * (terms.compress ? sample.packed_share : 1));
        assert_true(forecast.blackout_ns >= terms.device_state_ns);
        assert_true(forecast.writing_lost >= 0 && forecast.writing_lost < 1);
        assert_true(!forecast.keeps_target || forecast.blackout_ns <= terms.blackout_target_ns);
        assert_true(forecast.keeps_target == (forecast.duration_ns != UINT64_MAX));
        assert_true(terms.pace ? forecast.keeps_target : forecast.paced_ns == 0);
    }
}

static void a_faster_link_is_never_worse(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct engine_sample sample = any_sample();
        struct engine_forecast_terms terms = any_terms();
        struct engine_forecast slow = engine_forecast(&sample, &terms);
        terms.link_rate *= 2;
        struct engine_forecast fast = engine_forecast(&sample, &terms);
        assert_true(fast.keeps_target || !slow.keeps_target);
        if (slow.keeps_target && slow.paced_ns == 0) { /* rounds that polish may come on top */
            assert_true((double)fast.duration_ns <= (double)slow.duration_ns * 1.05 + 5e6);
        }
    }
}

static void a_longer_blackout_is_never_harder(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct engine_sample sample = any_sample();
        struct engine_forecast_terms terms = any_terms();
        struct engine_forecast strict = engine_forecast(&sample, &terms);
        terms.blackout_target_ns *= 2;
        struct engine_forecast lax = engine_forecast(&sample, &terms);
        assert_true(lax.keeps_target || !strict.keeps_target);
        assert_true(lax.paced_ns <= strict.paced_ns);
    }
}

/* ---- beside a guest written page by page ---- */

#define PAGES 16384u /* 64 MiB */

struct little_guest {
    struct page_set dirty;
    double writes_per_page_sent; /* at random, all over the memory */
    double owed;
};

static void write_pages(struct little_guest *guest)
{
    for (guest->owed += guest->writes_per_page_sent; guest->owed >= 1; guest->owed--) {
        uint64_t page = (uint64_t)(random_part() * PAGES);
        page_set_add(&guest->dirty, (struct page_run){page, 1});
    }
}

/* A round: each page is collected right before it is sent. Returns how many were. */
static uint64_t send_round(struct little_guest *guest)
{
    uint64_t sent = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        if (page_set_has(&guest->dirty, page)) {
            page_set_remove(&guest->dirty, (struct page_run){page, 1});
            write_pages(guest);
            sent++;
        }
    }
    return sent;
}

static void rounds_are_as_a_guest_written_page_by_page(void **state)
{
    (void)state;
    static const double shares[] = {0.1, 0.3, 0.5, 0.7, 0.9}; /* of what the link carries */
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        struct engine_forecast_terms terms = gigabit();
        double rate = shares[i] * (double)terms.link_rate;
        double area = (double)PAGES * ENGINE_PAGE_SIZE;
        struct engine_sample sample = random_writer(rate, area);
        sample.populated_bytes = (uint64_t)area;
        sample.collect_ns = 0;
        struct little_guest guest = {.writes_per_page_sent = shares[i]};
        struct engine_forecast forecast = engine_forecast(&sample, &terms);
        assert_int_equal(page_set_init(&guest.dirty, PAGES), 0);
        page_set_add(&guest.dirty, (struct page_run){0, PAGES});
        uint64_t sent = 0;
        for (uint32_t round = 1; round < forecast.rounds; round++) {
            sent += send_round(&guest);
        }
        uint64_t left = page_set_count(&guest.dirty);
        double left_ns = (double)(left * ENGINE_PAGE_SIZE) / (double)terms.link_rate * 1e9;
        assert_near((double)forecast.bytes - 300000, (double)((sent + left) * ENGINE_PAGE_SIZE),
                    0.25);
        assert_near((double)forecast.blackout_ns, left_ns + 10e6, 0.35);
        page_set_done(&guest.dirty);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_guest_takes_its_memory_over_the_rate),
        cmocka_unit_test(zeroes_are_not_sent),
        cmocka_unit_test(an_almost_empty_guest_is_limited_by_its_device_state),
        cmocka_unit_test(a_bandwidth_limit_is_named),
        cmocka_unit_test(compression_counts_where_it_pays),
        cmocka_unit_test(a_writer_that_the_link_outruns_takes_some_rounds),
        cmocka_unit_test(writers_that_outrun_the_link_are_paced),
        cmocka_unit_test(without_pacing_the_target_cannot_be_kept),
        cmocka_unit_test(a_time_limit_ends_it_one_way_or_the_other),
        cmocka_unit_test(a_time_limit_that_is_too_short_is_noticed),
        cmocka_unit_test(a_target_below_the_device_state_is_out_of_reach),
        cmocka_unit_test(the_curve_is_read_between_and_beyond_its_points),
        cmocka_unit_test(forecasts_make_sense),
        cmocka_unit_test(a_faster_link_is_never_worse),
        cmocka_unit_test(a_longer_blackout_is_never_harder),
        cmocka_unit_test(rounds_are_as_a_guest_written_page_by_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
