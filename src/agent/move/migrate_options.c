/* The options of a move: see migrate_options.h. */
#include "agent/move/migrate_options.h"

#include <errno.h>

#include "base/clock.h"
#include "base/json.h"
#include "mover/setup.h"

#define WHAT "the request"
#define TIMEOUT_S_MOST 604800 /* a week */
#define BLACKOUT_MS_DEFAULT 50
#define BLACKOUT_MS_MOST 60000

static int read_limits(const json_t *body, struct migrate_options *options, struct error *err)
{
    int64_t blackout_ms;
    int64_t timeout_s;
    int64_t bandwidth;
    int64_t channels;
    int result = json_get_integer_or(body, WHAT, "blackout_ms", 1, BLACKOUT_MS_MOST,
                                     BLACKOUT_MS_DEFAULT, &blackout_ms, err);
    if (result == 0) {
        result =
            json_get_integer_or(body, WHAT, "timeout_s", 0, TIMEOUT_S_MOST, 0, &timeout_s, err);
    }
    if (result == 0) {
        result =
            json_get_integer_or(body, WHAT, "bandwidth_limit", 0, INT64_MAX, 0, &bandwidth, err);
    }
    if (result == 0) {
        result =
            json_get_integer_or(body, WHAT, "channels", 0, MOVER_CHANNELS_MOST, 0, &channels, err);
    }
    if (result == 0) {
        options->blackout_target_ns = (uint64_t)blackout_ms * NANOSECONDS_PER_MILLISECOND;
        options->timeout_ns = (uint64_t)timeout_s * NANOSECONDS_PER_SECOND;
        options->bandwidth_limit = (uint64_t)bandwidth;
        options->channels = (unsigned)channels;
    }
    return result;
}

static int read_choices(const json_t *body, struct migrate_options *options, struct error *err)
{
    static const char *const on_timeouts[] = {"abort", "stop", NULL};
    static const char *const paces[] = {"off", "on", NULL};
    static const char *const compressions[] = {"off", "auto", NULL};
    static const char *const engines[] = {"auto", "drover", "native", NULL};
    int on_timeout;
    int pace;
    int compress;
    int engine;
    int result = json_get_choice_or(body, WHAT, "on_timeout", on_timeouts, ENGINE_ON_TIMEOUT_ABORT,
                                    &on_timeout, err);
    if (result == 0) {
        result = json_get_choice_or(body, WHAT, "pace", paces, true, &pace, err);
    }
    if (result == 0) {
        result = json_get_choice_or(body, WHAT, "compress", compressions, true, &compress, err);
    }
    if (result == 0) {
        result =
            json_get_choice_or(body, WHAT, "engine", engines, MIGRATE_ENGINE_AUTO, &engine, err);
    }
    if (result == 0) {
        options->on_timeout = (enum engine_on_timeout)on_timeout;
        options->pace = pace;
        options->compress = compress;
        options->engine = (enum migrate_engine)engine;
    }
    return result;
}

static int check_options(const json_t *body, const struct migrate_options *options,
                         struct error *err)
{
    if (json_is_string(json_object_get(body, "on_timeout")) && options->timeout_ns == 0) {
        error_set(err, EINVAL, WHAT ": \"on_timeout\" without a time limit");
        return error_remedy(err,
                            "give \"timeout_s\" too: after how many seconds that shall happen");
    }
    return 0;
}

int migrate_options_from_json(const json_t *body, struct migrate_options *ret_options,
                              bool *ret_dry_run, struct error *err)
{
    static const char *const known[] = {
        "to",       "dry_run",  "blackout_ms", "timeout_s",       "on_timeout", "pace",
        "compress", "channels", "engine",      "bandwidth_limit", NULL};
    struct migrate_options options = {0};
    bool dry_run;
    int result = json_refuse_unknown_keys(body, WHAT, known, err);
    if (result == 0) {
        result = json_get_string(body, WHAT, "to", &options.to, err);
    }
    if (result == 0) {
        result = json_get_boolean_or(body, WHAT, "dry_run", false, &dry_run, err);
    }
    if (result == 0) {
        result = read_limits(body, &options, err);
    }
    if (result == 0) {
        result = read_choices(body, &options, err);
    }
    if (result == 0) {
        result = check_options(body, &options, err);
    }
    if (result == 0) {
        *ret_options = options;
        *ret_dry_run = dry_run;
    }
    return result;
}

void migrate_options_apply(const struct migrate_options *options,
                           struct engine_source_options *engine_options)
{
    engine_options->blackout_target_ns = options->blackout_target_ns;
    engine_options->timeout_ns = options->timeout_ns;
    engine_options->on_timeout = options->on_timeout;
    engine_options->pace = options->pace;
    engine_options->compress = options->compress;
    engine_options->channels = options->channels;
    engine_options->bandwidth_limit = options->bandwidth_limit;
}
