/* The forecast as the API has it, its warnings, and the remembered rates of moves. */
#include "test.h"

#include "agent/move/checks.h"
#include "agent/move/forecast.h"
#include "base/json.h"
#include "scratch.h"

#define MS NANOSECONDS_PER_MILLISECOND
#define GIB ((uint64_t)1 << 30)

static const struct link_rate gigabit = {118000000, LINK_RATE_MEASURED};

static struct migrate_options usual_options(void)
{
    return (struct migrate_options){.to = "h2", .blackout_target_ns = 50 * MS, .pace = true};
}

/* A guest of 1 GiB that rewrites 64 MiB all the time. */
static struct engine_sample busy_guest(void)
{
    return (struct engine_sample){.memory_bytes = 2 * GIB,
                                  .populated_bytes = GIB,
                                  .packed_share = 1,
                                  .hot_bytes = 64 << 20,
                                  .point_count = 2,
                                  .points = {{10 * MS, 64 << 20}, {2000 * MS, 66 << 20}}};
}

static struct engine_sample idle_guest(void)
{
    struct engine_sample sample = busy_guest();
    sample.hot_bytes = sample.points[0].bytes = sample.points[1].bytes = 0;
    return sample;
}

static double number(const json_t *object, const char *key)
{
    assert_true(json_is_number(json_object_get(object, key)));
    return json_number_value(json_object_get(object, key));
}

static void an_idle_guest_is_told_in_full(void **state)
{
    (void)state;
    struct engine_sample sample = idle_guest();
    struct migrate_options options = usual_options();
    CLEANUP_JSON json_t *checks = json_array();
    CLEANUP_JSON json_t *forecast = forecast_to_json(&sample, &gigabit, &options);
    assert_true(json_is_null(json_object_get(forecast, "problem")));
    assert_true(number(forecast, "duration_ms") > 9000 && number(forecast, "duration_ms") < 9300);
    assert_true(number(forecast, "rounds") == 2);
    assert_true(number(forecast, "bytes") >= (double)GIB);
    assert_true(number(forecast, "memory_populated") == (double)GIB);
    assert_true(number(forecast, "dirty_rate") == 0);
    assert_true(number(forecast, "sampled_ms") == 2000);
    assert_true(json_is_false(json_object_get(forecast, "paced")));
    assert_string_equal(json_string_value(json_object_get(forecast, "limited_by")), "link");
    assert_string_equal(json_string_value(json_object_get(forecast, "link_rate_source")),
                        "measured");
    forecast_check(forecast, &options, checks);
    assert_int_equal(json_array_size(checks), 0);
}

static void what_cannot_be_kept_is_warned_of(void **state)
{
    (void)state;
    struct engine_sample sample = busy_guest();
    struct migrate_options options = usual_options();
    options.pace = false;
    options.timeout_ns = 60 * NANOSECONDS_PER_SECOND;
    CLEANUP_JSON json_t *checks = json_array();
    CLEANUP_JSON json_t *forecast = forecast_to_json(&sample, &gigabit, &options);
    forecast_check(forecast, &options, checks);
    assert_int_equal(json_array_size(checks), 2);
    assert_string_equal(checks_verdict(checks), "warn");
    const json_t *check = json_array_get(checks, 0);
    assert_non_null(strstr(json_string_value(json_object_get(check, "remedy")), "--pace on"));
}

static void a_move_without_end_has_no_duration(void **state)
{
    (void)state;
    struct engine_sample sample = busy_guest();
    struct migrate_options options = usual_options();
    options.pace = false;
    CLEANUP_JSON json_t *forecast = forecast_to_json(&sample, &gigabit, &options);
    assert_true(json_is_null(json_object_get(forecast, "duration_ms")));
    assert_true(json_is_false(json_object_get(forecast, "keeps_blackout")));
}

static void a_missing_forecast_says_why_and_warns_of_nothing(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct migrate_options options = usual_options();
    CLEANUP_JSON json_t *checks = json_array();
    error_set(&err, EIO, "it died");
    CLEANUP_JSON json_t *forecast = forecast_missing(&err);
    assert_string_equal(json_string_value(json_object_get(forecast, "problem")), "it died");
    forecast_check(forecast, &options, checks);
    forecast_check(NULL, &options, checks); /* one that was not asked for */
    assert_int_equal(json_array_size(checks), 0);
}

/* ---- rates ---- */

static struct agent_config *configured(void **state)
{
    struct agent_config *config = calloc(1, sizeof(*config));
    snprintf(config->state_folder, sizeof(config->state_folder), "%s", (const char *)*state);
    snprintf(config->peers[0].name, sizeof(config->peers[0].name), "h2");
    snprintf(config->peers[1].name, sizeof(config->peers[1].name), "h3");
    config->peer_count = 2;
    return config;
}

static void without_moves_the_rate_is_assumed(void **state)
{
    struct agent_config *config = configured(state);
    struct link_rate rate = link_rate_of(config, "h2");
    assert_int_equal(rate.source, LINK_RATE_ASSUMED);
    assert_true(rate.bytes_per_second > 0);
    free(config);
}

static void the_middle_of_the_last_five_moves_counts(void **state)
{
    static const uint64_t rates[] = {9000, 9000, 9000, 100, 300, 500, 200, 400};
    struct agent_config *config = configured(state);
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        link_rate_remember(config, "h2", rates[i]);
    }
    link_rate_remember(config, "h3", 7);
    assert_int_equal(link_rate_of(config, "h2").bytes_per_second, 300);
    assert_int_equal(link_rate_of(config, "h2").source, LINK_RATE_MEASURED);
    assert_int_equal(link_rate_of(config, "h3").bytes_per_second, 7);
    free(config);
}

static void peers_that_are_gone_are_forgotten(void **state)
{
    struct agent_config *config = configured(state);
    link_rate_remember(config, "h3", 7);
    config->peer_count = 1;
    link_rate_remember(config, "h2", 8);
    assert_int_equal(link_rate_of(config, "h3").source, LINK_RATE_ASSUMED);
    assert_int_equal(link_rate_of(config, "h2").bytes_per_second, 8);
    free(config);
}

static void a_file_that_is_nonsense_is_done_without(void **state)
{
    static const char *const nonsense[] = {
        "", "[1, 2]", "{\"version\": 2, \"peers\": {\"h2\": [{\"rate\": 5}]}}",
        "{\"version\": 1, \"peers\": {\"h2\": [{\"rate\": -5}, {\"rate\": \"x\"}, 3]}}"};
    struct agent_config *config = configured(state);
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        scratch_write(state, "link_rates.json", nonsense[i]);
        assert_int_equal(link_rate_of(config, "h2").source, LINK_RATE_ASSUMED);
    }
    link_rate_remember(config, "h2", 8);
    assert_int_equal(link_rate_of(config, "h2").bytes_per_second, 8);
    free(config);
}

static void the_rate_of_a_move_is_that_of_its_fastest_long_round(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *statistics =
        json_pack("{s:[{s:i, s:i}, {s:i, s:i}, {s:i, s:i}]}", "rounds", "bytes_sent", 100000000,
                  "duration_ns", 1000000000, "bytes_sent", 20000000, "duration_ns", 100000000,
                  "bytes_sent", 1000000, "duration_ns", 1000); /* too short to tell */
    assert_int_equal(link_rate_of_move(statistics, 0), 200000000);
    assert_int_equal(link_rate_of_move(statistics, 1000000000), 200000000);
    assert_int_equal(link_rate_of_move(statistics, 200000000), 0); /* held back */
    assert_int_equal(link_rate_of_move(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_guest_is_told_in_full),
        cmocka_unit_test(what_cannot_be_kept_is_warned_of),
        cmocka_unit_test(a_move_without_end_has_no_duration),
        cmocka_unit_test(a_missing_forecast_says_why_and_warns_of_nothing),
        scratch_test(without_moves_the_rate_is_assumed),
        scratch_test(the_middle_of_the_last_five_moves_counts),
        scratch_test(peers_that_are_gone_are_forgotten),
        scratch_test(a_file_that_is_nonsense_is_done_without),
        cmocka_unit_test(the_rate_of_a_move_is_that_of_its_fastest_long_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
