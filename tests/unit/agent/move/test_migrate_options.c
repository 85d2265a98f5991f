/* The request for a move: defaults, every option, and what is wrong refused by name. */
#include "test.h"

#include "agent/move/migrate_options.h"
#include "base/clock.h"
#include "base/json.h"

static const char everything[] =
    "{\"to\": \"h2\", \"dry_run\": true, \"blackout_ms\": 20, \"timeout_s\": 30,"
    " \"on_timeout\": \"stop\", \"pace\": \"off\", \"compress\": \"off\", \"channels\": 4,"
    " \"engine\": \"drover\", \"bandwidth_limit\": 1000}";

static int read_text(const char *text, struct migrate_options *options, bool *dry_run,
                     json_t **ret_body, struct error *err)
{
    *ret_body = json_parse(text, strlen(text), "test", err);
    assert_non_null(*ret_body);
    return migrate_options_from_json(*ret_body, options, dry_run, err);
}

static void what_is_left_out_has_a_default(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct migrate_options options;
    bool dry_run;
    CLEANUP_JSON json_t *body = NULL;
    assert_int_equal(read_text("{\"to\": \"h2\"}", &options, &dry_run, &body, &err), 0);
    assert_string_equal(options.to, "h2");
    assert_false(dry_run);
    assert_int_equal(options.blackout_target_ns, 50 * NANOSECONDS_PER_MILLISECOND);
    assert_int_equal(options.timeout_ns, 0);
    assert_int_equal(options.on_timeout, ENGINE_ON_TIMEOUT_ABORT);
    assert_true(options.pace);
    assert_true(options.compress);
    assert_int_equal(options.channels, 0);
    assert_int_equal(options.engine, MIGRATE_ENGINE_AUTO);
    assert_int_equal(options.bandwidth_limit, 0);
}

static void every_option_reaches_the_engine(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct migrate_options options;
    struct engine_source_options engine = {.device_state_ns = 7, .pace = true, .compress = true};
    bool dry_run;
    CLEANUP_JSON json_t *body = NULL;
    assert_int_equal(read_text(everything, &options, &dry_run, &body, &err), 0);
    assert_true(dry_run);
    assert_int_equal(options.engine, MIGRATE_ENGINE_DROVER);
    migrate_options_apply(&options, &engine);
    assert_int_equal(engine.blackout_target_ns, 20 * NANOSECONDS_PER_MILLISECOND);
    assert_int_equal(engine.timeout_ns, 30 * NANOSECONDS_PER_SECOND);
    assert_int_equal(engine.on_timeout, ENGINE_ON_TIMEOUT_STOP);
    assert_false(engine.pace);
    assert_false(engine.compress);
    assert_int_equal(engine.channels, 4);
    assert_int_equal(engine.bandwidth_limit, 1000);
    assert_int_equal(engine.device_state_ns, 7);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *key;
        const char *json;
    } rows[] = {
        {"to", "null"},          {"dry_run", "1"},       {"blackout_ms", "0"},
        {"blackout_ms", "1e3"},  {"timeout_s", "-1"},    {"on_timeout", "\"explode\""},
        {"on_timeout", "true"},  {"pace", "true"},       {"pace", "\"fast\""},
        {"compress", "\"on\""},  {"channels", "-1"},     {"channels", "65"},
        {"channels", "\"two\""}, {"engine", "\"qemu\""}, {"bandwidth_limit", "-1"},
        {"colour", "\"red\""},   {"on_timeout", "\"\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = ERROR_NONE;
        struct migrate_options options;
        bool dry_run;
        CLEANUP_JSON json_t *body = json_parse(everything, strlen(everything), "test", &err);
        json_object_set_new(body, rows[i].key, json_loads(rows[i].json, JSON_DECODE_ANY, NULL));
        assert_int_equal(migrate_options_from_json(body, &options, &dry_run, &err), -EINVAL);
        assert_non_null(strstr(err.message, rows[i].key));
    }
}

static void assert_refused(const char *text, const char *message, const char *remedy)
{
    struct error err = ERROR_NONE;
    struct migrate_options options;
    bool dry_run;
    CLEANUP_JSON json_t *body = NULL;
    assert_int_equal(read_text(text, &options, &dry_run, &body, &err), -EINVAL);
    assert_non_null(strstr(err.message, message));
    assert_non_null(strstr(err.remedy, remedy));
}

static void a_wrong_word_is_answered_with_the_right_ones(void **state)
{
    (void)state;
    assert_refused("{\"to\": \"h2\", \"engine\": \"qemu\"}", "auto, drover or native, not \"qemu\"",
                   "");
}

static void what_happens_at_the_time_limit_wants_a_time_limit(void **state)
{
    (void)state;
    assert_refused("{\"to\": \"h2\", \"on_timeout\": \"stop\"}", "on_timeout", "timeout_s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_has_a_default),
        cmocka_unit_test(every_option_reaches_the_engine),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_wrong_word_is_answered_with_the_right_ones),
        cmocka_unit_test(what_happens_at_the_time_limit_wants_a_time_limit),
    };
    return cmocka_run_group_tests_name("agent-migrate-options", tests, NULL, NULL);
}
