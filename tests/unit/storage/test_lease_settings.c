/* A datastore's lease settings: defaults, and times that would let a VM run twice are refused. */
#include "test.h"

#include "base/clock.h"
#include "base/json.h"
#include "storage/lease_settings.h"

#define MS NANOSECONDS_PER_MILLISECOND

static struct lease_settings read_good(const char *marker)
{
    struct error err = ERROR_NONE;
    struct lease_settings settings;
    CLEANUP_JSON json_t *document = json_loads(marker, 0, NULL);
    if (lease_settings_from_json(document, "the marker", &settings, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return settings;
}

static void assert_refused(const char *marker, const char *because)
{
    struct error err = ERROR_NONE;
    struct lease_settings settings;
    CLEANUP_JSON json_t *document = json_loads(marker, 0, NULL);
    assert_non_null(document);
    assert_int_equal(lease_settings_from_json(document, "the marker", &settings, &err), -EINVAL);
    if (!strstr(err.message, because)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, because);
    }
}

static void a_marker_without_settings_has_leases_in_files(void **state)
{
    (void)state;
    struct lease_settings settings = read_good("{}");
    assert_int_equal(settings.kind, LEASE_FILE);
    assert_int_equal(settings.heartbeat_ns, 500 * MS);
    assert_int_equal(settings.stop_after_ns, 4000 * MS);
    assert_int_equal(settings.takeover_ns, 7000 * MS);
}

static void what_is_given_counts(void **state)
{
    (void)state;
    struct lease_settings settings = read_good(
        "{\"lease\": {\"heartbeat_ms\": 250, \"stop_after_ms\": 2000, \"takeover_ms\": 3000}}");
    assert_int_equal(settings.kind, LEASE_FILE);
    assert_int_equal(settings.heartbeat_ns, 250 * MS);
    assert_int_equal(settings.stop_after_ns, 2000 * MS);
    assert_int_equal(settings.takeover_ns, 3000 * MS);
}

static void a_local_datastore_has_no_times(void **state)
{
    (void)state;
    struct lease_settings settings = read_good("{\"lease\": {\"kind\": \"local\"}}");
    assert_int_equal(settings.kind, LEASE_LOCAL);
    assert_int_equal(settings.takeover_ns, 0);
    assert_refused("{\"lease\": {\"kind\": \"local\", \"heartbeat_ms\": 500}}", "heartbeat_ms");
}

static void sanlock_gives_its_own_times(void **state)
{
    (void)state;
    struct lease_settings settings = read_good("{\"lease\": {\"kind\": \"sanlock\"}}");
    assert_int_equal(settings.heartbeat_ns, 2000 * MS);
    assert_int_equal(settings.stop_after_ns, 10000 * MS);
    assert_int_equal(settings.takeover_ns, 68000 * MS);
    settings = read_good("{\"lease\": {\"kind\": \"sanlock\", \"heartbeat_ms\": 20000}}");
    assert_int_equal(settings.stop_after_ns, 100000 * MS);
    assert_int_equal(settings.takeover_ns, 140000 * MS);
    assert_refused("{\"lease\": {\"kind\": \"sanlock\", \"heartbeat_ms\": 3000}}",
                   "multiple of 2000");
    assert_refused("{\"lease\": {\"kind\": \"sanlock\", \"takeover_ms\": 20000}}", "it is 68000");
}

static void times_without_room_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"lease\": {\"heartbeat_ms\": 2000}}", "stop_after_ms");
    assert_refused("{\"lease\": {\"stop_after_ms\": 1999}}", "less than 4 times");
    assert_refused("{\"lease\": {\"stop_after_ms\": 6500}}", "takeover_ms");
    assert_refused("{\"lease\": {\"takeover_ms\": 4999}}", "less than 1000 ms");
    assert_refused("{\"lease\": {\"takeover_ms\": 9999999}}", "takeover_ms");
    assert_refused("{\"lease\": {\"heartbeat_ms\": 1}}", "heartbeat_ms");
    assert_refused("{\"lease\": {\"kind\": \"etcd\"}}", "kind");
    assert_refused("{\"lease\": {\"hearbeat_ms\": 500}}", "hearbeat_ms");
    assert_refused("{\"lease\": 5}", "lease");
}

static void settings_survive_their_json(void **state)
{
    static const char *const kinds[] = {"local", "file", "sanlock"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        CLEANUP_JSON json_t *marker = json_pack("{s:{s:s}}", "lease", "kind", kinds[i]);
        struct error err = ERROR_NONE;
        struct lease_settings settings;
        struct lease_settings again;
        assert_int_equal(lease_settings_from_json(marker, "the marker", &settings, &err), 0);
        assert_string_equal(lease_kind_name(settings.kind), kinds[i]);
        json_object_set_new(marker, "lease", lease_settings_to_json(&settings));
        assert_int_equal(lease_settings_from_json(marker, "the marker", &again, &err), 0);
        assert_true(lease_settings_equal(&settings, &again));
        again.takeover_ns++;
        assert_false(lease_settings_equal(&settings, &again));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_marker_without_settings_has_leases_in_files),
        cmocka_unit_test(what_is_given_counts),
        cmocka_unit_test(a_local_datastore_has_no_times),
        cmocka_unit_test(sanlock_gives_its_own_times),
        cmocka_unit_test(times_without_room_are_refused),
        cmocka_unit_test(settings_survive_their_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
