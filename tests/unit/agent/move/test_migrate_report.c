/* A move's figures on their way from the engine's structs to the API's report. */
#include "test.h"

#include "agent/move/migrate_report.h"
#include "base/clock.h"
#include "base/json.h"
#include "mover/report.h"

#define MILLISECONDS(count) ((count)*NANOSECONDS_PER_MILLISECOND)

static json_t *report_of(const struct engine_statistics *statistics,
                         const struct engine_source_options *options)
{
    CLEANUP_JSON json_t *source = report_source_statistics(statistics, options);
    struct migrate_report report = {
        .from = "h1", .to = "h2", .engine = "drover", .outcome = "moved", .source = source};
    return migrate_report_to_json(&report);
}

static void assert_part(const json_t *report, const char *key, const char *expected)
{
    CLEANUP_JSON json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
    const json_t *found = json_object_get(report, key);
    if (!json_equal(found, wanted)) {
        char *text = json_dumps(found, JSON_ENCODE_ANY);
        fail_msg("\"%s\" is %s, not %s", key, text ? text : "missing", expected);
    }
}

static void what_the_engine_did_is_told(void **state)
{
    (void)state;
    struct engine_source_options options = {0};
    struct engine_statistics statistics = {.bytes_sent = 3000,
                                           .channels = 4,
                                           .content_bytes = 9000,
                                           .pages_lz4 = 10,
                                           .pages_zstd = 20,
                                           .pages_delta = 30,
                                           .pages_deferred = 40,
                                           .paced_ns = MILLISECONDS(50),
                                           .writers_waited_ns = MILLISECONDS(60)};
    CLEANUP_JSON json_t *report = report_of(&statistics, &options);
    assert_part(report, "engine", "\"drover\"");
    assert_part(report, "bytes", "3000");
    assert_part(report, "channels", "4");
    assert_part(report, "content_bytes", "9000");
    assert_part(report, "compressed",
                "{\"lz4_bytes\": 40960, \"zstd_bytes\": 81920, \"delta_bytes\": 122880}");
    assert_part(report, "deferred_bytes", "163840");
    assert_part(report, "paced_ms", "50.0");
    assert_part(report, "writers_waited_ms", "60.0");
}

static void how_the_channels_were_protected_is_told(void **state)
{
    (void)state;
    struct engine_source_options options = {0};
    struct engine_statistics statistics = {0};
    struct secure_channel_facts facts = {.encrypted = true, .cipher = "TLS_AES_128_GCM_SHA256"};
    CLEANUP_JSON json_t *source = report_source_statistics(&statistics, &options);
    struct migrate_report move = {
        .from = "h1", .to = "h2", .engine = "drover", .outcome = "moved", .source = source};
    report_add_encryption(source, &facts);
    CLEANUP_JSON json_t *report = migrate_report_to_json(&move);
    assert_part(report, "encryption", "\"tls13\"");
    assert_part(report, "encryption_by", "\"openssl\"");
    assert_part(report, "cipher", "\"TLS_AES_128_GCM_SHA256\"");
    facts = (struct secure_channel_facts){.encrypted = true, .in_kernel = true, .cipher = "x"};
    report_add_encryption(source, &facts);
    CLEANUP_JSON json_t *by_kernel = migrate_report_to_json(&move);
    assert_part(by_kernel, "encryption_by", "\"kernel\"");
    facts = (struct secure_channel_facts){0};
    report_add_encryption(source, &facts);
    CLEANUP_JSON json_t *in_clear = migrate_report_to_json(&move);
    assert_part(in_clear, "encryption", "\"none\"");
    assert_part(in_clear, "encryption_by", "null");
    assert_part(in_clear, "cipher", "null");
}

static void the_options_are_told_as_they_were_asked_for(void **state)
{
    (void)state;
    struct engine_statistics statistics = {0};
    struct engine_source_options options = {.blackout_target_ns = MILLISECONDS(20),
                                            .timeout_ns = 30 * NANOSECONDS_PER_SECOND,
                                            .on_timeout = ENGINE_ON_TIMEOUT_STOP,
                                            .compress = true,
                                            .channels = 4,
                                            .bandwidth_limit = 1000};
    CLEANUP_JSON json_t *report = report_of(&statistics, &options);
    assert_part(report, "options",
                "{\"blackout_ms\": 20, \"timeout_s\": 30, \"on_timeout\": \"stop\","
                " \"pace\": \"off\", \"compress\": \"auto\", \"channels\": 4,"
                " \"bandwidth_limit\": 1000}");
    options.pace = true;
    options.compress = false;
    options.on_timeout = ENGINE_ON_TIMEOUT_ABORT;
    CLEANUP_JSON json_t *other = report_of(&statistics, &options);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(other, "options"), "pace")), "on");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(other, "options"), "compress")), "off");
}

static void a_mover_that_died_leaves_a_report_all_the_same(void **state)
{
    (void)state;
    struct migrate_report report = {
        .from = "h1", .to = "h2", .engine = "drover", .outcome = "moved"};
    CLEANUP_JSON json_t *json = migrate_report_to_json(&report);
    assert_part(json, "outcome", "\"moved\"");
    assert_part(json, "options", "null");
    assert_part(json, "channels", "0");
    assert_part(json, "paced_ms", "null");
    assert_part(json, "total_ms", "null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_engine_did_is_told),
        cmocka_unit_test(how_the_channels_were_protected_is_told),
        cmocka_unit_test(the_options_are_told_as_they_were_asked_for),
        cmocka_unit_test(a_mover_that_died_leaves_a_report_all_the_same),
    };
    return cmocka_run_group_tests_name("agent-migrate-report", tests, NULL, NULL);
}
