/* How a datastore keeps its leases: see lease_settings.h. */
#include "storage/lease_settings.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"

#define MS NANOSECONDS_PER_MILLISECOND
#define HEARTBEATS_LEAST 4 /* so many are missed before a VM is stopped */
#define MARGIN_MS 1000     /* from the last VM's end to the first take-over */

/* sanlock renews every second io_timeout (whole seconds), and never takes a host for dead before 8
 * of them and a watchdog's 60 s are over (its src/timeouts.c and timeouts.h). */
#define SANLOCK_STEP_MS 2000
#define SANLOCK_WATCHDOG_MS 60000
#define SANLOCK_STOP_HEARTBEATS 5

static const char *const kind_names[] = {"local", "file", "sanlock", NULL};

struct bounds {
    int64_t least_ms;
    int64_t most_ms;
};
static const struct bounds heartbeat_bounds = {100, 60000};
static const struct bounds stop_after_bounds = {400, 3600000};
static const struct bounds takeover_bounds = {1400, 7200000};

static int get_ms(const json_t *lease, const char *what, const char *key, struct bounds bounds,
                  int64_t otherwise_ms, uint64_t *ret_ns, struct error *err)
{
    int64_t ms;
    int result = json_get_integer_or(lease, what, key, bounds.least_ms, bounds.most_ms,
                                     otherwise_ms, &ms, err);
    if (result == 0) {
        *ret_ns = (uint64_t)ms * MS;
    }
    return result;
}

/* The times that a kind has when none are given; some follow from the heartbeat. */
static int64_t default_heartbeat_ms(enum lease_kind kind)
{
    return kind == LEASE_SANLOCK ? SANLOCK_STEP_MS : 500;
}

static int64_t default_stop_after_ms(const struct lease_settings *settings)
{
    int64_t heartbeat_ms = (int64_t)(settings->heartbeat_ns / MS);
    return settings->kind == LEASE_SANLOCK ? SANLOCK_STOP_HEARTBEATS * heartbeat_ms : 4000;
}

static int64_t default_takeover_ms(const struct lease_settings *settings)
{
    int64_t heartbeat_ms = (int64_t)(settings->heartbeat_ns / MS);
    return settings->kind == LEASE_SANLOCK ? SANLOCK_WATCHDOG_MS + 4 * heartbeat_ms : 7000;
}

static int check_times(const struct lease_settings *settings, const char *what, struct error *err)
{
    if (settings->heartbeat_ns * HEARTBEATS_LEAST > settings->stop_after_ns) {
        error_set(err, EINVAL,
                  "%s: \"stop_after_ms\" is less than %d times \"heartbeat_ms\": a short hiccup of "
                  "the storage would end the VMs",
                  what, HEARTBEATS_LEAST);
        return error_remedy(err, "let at least %d heartbeats fit", HEARTBEATS_LEAST);
    }
    if (settings->stop_after_ns + MARGIN_MS * MS > settings->takeover_ns) {
        error_set(err, EINVAL,
                  "%s: \"takeover_ms\" leaves less than %d ms after \"stop_after_ms\": a VM could "
                  "still be ending when another host starts it",
                  what, MARGIN_MS);
        return error_remedy(err, "make \"takeover_ms\" longer, or \"stop_after_ms\" shorter");
    }
    return 0;
}

static int check_sanlock(const struct lease_settings *settings, const char *what, struct error *err)
{
    uint64_t takeover_ms = (uint64_t)default_takeover_ms(settings);
    if (settings->heartbeat_ns % (SANLOCK_STEP_MS * MS) != 0) {
        return error_set(err, EINVAL,
                         "%s: \"heartbeat_ms\" of kind sanlock is twice sanlock's io_timeout: a "
                         "multiple of %d",
                         what, SANLOCK_STEP_MS);
    }
    if (settings->takeover_ns != takeover_ms * MS) {
        error_set(err, EINVAL,
                  "%s: \"takeover_ms\" of kind sanlock is given by sanlock: with this "
                  "\"heartbeat_ms\" it is %llu",
                  what, (unsigned long long)takeover_ms);
        return error_remedy(err, "leave it out");
    }
    return 0;
}

static int read_times(const json_t *lease, const char *what, struct lease_settings *settings,
                      struct error *err)
{
    int result = get_ms(lease, what, "heartbeat_ms", heartbeat_bounds,
                        default_heartbeat_ms(settings->kind), &settings->heartbeat_ns, err);
    if (result == 0) {
        result = get_ms(lease, what, "stop_after_ms", stop_after_bounds,
                        default_stop_after_ms(settings), &settings->stop_after_ns, err);
    }
    if (result == 0) {
        result = get_ms(lease, what, "takeover_ms", takeover_bounds, default_takeover_ms(settings),
                        &settings->takeover_ns, err);
    }
    if (result == 0 && settings->kind == LEASE_SANLOCK) {
        result = check_sanlock(settings, what, err);
    }
    return result < 0 ? result : check_times(settings, what, err);
}

int lease_settings_from_json(const json_t *marker, const char *what,
                             struct lease_settings *ret_settings, struct error *err)
{
    static const char *const local_keys[] = {"kind", NULL};
    static const char *const keys[] = {"kind", "heartbeat_ms", "stop_after_ms", "takeover_ms",
                                       NULL};
    struct lease_settings settings = {0};
    json_t *lease;
    int kind;
    int result = json_get_object_or_null(marker, what, "lease", &lease, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *given = lease ? json_incref(lease) : json_object();
    result = json_get_choice_or(given, what, "kind", kind_names, LEASE_FILE, &kind, err);
    if (result < 0) {
        return result;
    }
    settings.kind = (enum lease_kind)kind;
    bool beats = settings.kind != LEASE_LOCAL;
    result = json_refuse_unknown_keys(given, what, beats ? keys : local_keys, err);
    if (result == 0 && beats) {
        result = read_times(given, what, &settings, err);
    }
    if (result == 0) {
        *ret_settings = settings;
    }
    return result;
}

json_t *lease_settings_to_json(const struct lease_settings *settings)
{
    if (settings->kind == LEASE_LOCAL) {
        return json_pack("{s:s}", "kind", kind_names[LEASE_LOCAL]);
    }
    return json_pack("{s:s, s:I, s:I, s:I}", "kind", kind_names[settings->kind], "heartbeat_ms",
                     (json_int_t)(settings->heartbeat_ns / MS), "stop_after_ms",
                     (json_int_t)(settings->stop_after_ns / MS), "takeover_ms",
                     (json_int_t)(settings->takeover_ns / MS));
}

bool lease_settings_equal(const struct lease_settings *left, const struct lease_settings *right)
{
    return left->kind == right->kind && left->heartbeat_ns == right->heartbeat_ns &&
           left->stop_after_ns == right->stop_after_ns && left->takeover_ns == right->takeover_ns;
}

const char *lease_kind_name(enum lease_kind kind)
{
    return kind_names[kind];
}
