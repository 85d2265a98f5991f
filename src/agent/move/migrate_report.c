/* A move's figures for the API: see migrate_report.h. */
#include "agent/move/migrate_report.h"

#include <stdbool.h>

#include "base/clock.h"
#include "base/json.h"

#define PAGE_BYTES 4096

static json_t *integer(const json_t *object, const char *key)
{
    return json_integer(json_integer_value(json_object_get(object, key)));
}

/* To the microsecond. */
static json_t *to_milliseconds(json_int_t nanoseconds)
{
    json_int_t microseconds = nanoseconds / 1000;
    return json_real((double)microseconds / 1000);
}

/* Null where the mover cannot tell. */
static json_t *milliseconds(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? to_milliseconds(json_integer_value(value)) : json_null();
}

static json_t *pages(const json_t *object, const char *key)
{
    return json_integer(json_integer_value(json_object_get(object, key)) * PAGE_BYTES);
}

json_t *migrate_progress_to_json(const json_t *event)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "round",
                     integer(event, "round"), "rate", integer(event, "rate"), "dirty_rate",
                     integer(event, "dirty_rate"), "bytes_sent", integer(event, "bytes_sent"),
                     "bytes_remaining", integer(event, "bytes_remaining"), "elapsed_ms",
                     milliseconds(event, "elapsed_ns"), "paced",
                     json_is_true(json_object_get(event, "paced")), "remaining_ms",
                     milliseconds(event, "remaining_ns"), "predicted_blackout_ms",
                     milliseconds(event, "predicted_blackout_ns"));
}

static json_t *round_to_json(const json_t *round)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "number", integer(round, "number"),
                     "pages_to_send", integer(round, "pages_to_send"), "bytes_to_send",
                     pages(round, "pages_to_send"), "bytes_sent", integer(round, "bytes_sent"),
                     "pages_zero", integer(round, "pages_zero"), "duration_ms",
                     milliseconds(round, "duration_ns"), "bytes_dirtied",
                     pages(round, "pages_dirtied"));
}

static json_t *rounds_to_json(const json_t *statistics)
{
    json_t *list = json_array();
    size_t index;
    json_t *round;
    json_array_foreach (json_object_get(statistics, "rounds"), index, round) {
        json_array_append_new(list, round_to_json(round));
    }
    return list;
}

static json_t *blackout_to_json(const json_t *statistics)
{
    const json_t *parts = json_object_get(statistics, "blackout");
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "last_pass_ms",
                     milliseconds(parts, "last_pass_ns"), "save_state_ms",
                     milliseconds(parts, "save_state_ns"), "load_state_ms",
                     milliseconds(parts, "load_state_ns"), "commit_ms",
                     milliseconds(parts, "commit_ns"), "run_ms", milliseconds(parts, "run_ns"));
}

/* Both stamps are of CLOCK_REALTIME: what the guest saw, as true as the two hosts' clocks agree. */
static json_t *guest_stopped(const struct migrate_report *report)
{
    const json_t *stopped = json_object_get(report->source, "stopped_at_ns");
    const json_t *resumed = json_object_get(report->destination, "resumed_at_ns");
    json_int_t stopped_ns = json_integer_value(stopped);
    json_int_t resumed_ns = json_integer_value(resumed);
    bool known = stopped_ns > 0 && resumed_ns >= stopped_ns;
    return known ? to_milliseconds(resumed_ns - stopped_ns) : json_null();
}

/* How much content went by each of the methods. */
static json_t *compressed_to_json(const json_t *statistics)
{
    return json_pack("{s:o, s:o, s:o}", "lz4_bytes", pages(statistics, "pages_lz4"), "zstd_bytes",
                     pages(statistics, "pages_zstd"), "delta_bytes",
                     pages(statistics, "pages_delta"));
}

static json_t *whole(const json_t *object, const char *key, json_int_t unit)
{
    return json_integer(json_integer_value(json_object_get(object, key)) / unit);
}

static const char *choice(const json_t *object, const char *key, const char *yes)
{
    return json_is_true(json_object_get(object, key)) ? yes : "off";
}

/* As the request had them, defaults filled in; null when the mover left no word. */
static json_t *options_to_json(const json_t *statistics)
{
    const json_t *options = json_object_get(statistics, "options");
    const char *on_timeout = json_string_value(json_object_get(options, "on_timeout"));
    if (!json_is_object(options)) {
        return json_null();
    }
    return json_pack("{s:o, s:o, s:s, s:s, s:s, s:o, s:o}", "blackout_ms",
                     whole(options, "blackout_target_ns", NANOSECONDS_PER_MILLISECOND), "timeout_s",
                     whole(options, "timeout_ns", NANOSECONDS_PER_SECOND), "on_timeout",
                     on_timeout ? on_timeout : "abort", "pace", choice(options, "pace", "on"),
                     "compress", choice(options, "compress", "auto"), "channels",
                     integer(options, "channels"), "bandwidth_limit",
                     integer(options, "bandwidth_limit"));
}

/* What the engine did to be faster, and what it cost the guest. */
static json_t *gains_to_json(const json_t *statistics)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "channels", integer(statistics, "channels"),
                     "content_bytes", integer(statistics, "content_bytes"), "compressed",
                     compressed_to_json(statistics), "deferred_bytes",
                     pages(statistics, "pages_deferred"), "paced_ms",
                     milliseconds(statistics, "paced_ns"), "writers_waited_ms",
                     milliseconds(statistics, "writers_waited_ns"));
}

/* How the channels were protected; null when the mover left no word. */
static json_t *encryption_to_json(const json_t *statistics)
{
    return json_pack("{s:O?, s:O?, s:O?}", "encryption", json_object_get(statistics, "encryption"),
                     "encryption_by", json_object_get(statistics, "encryption_by"), "cipher",
                     json_object_get(statistics, "cipher"));
}

static json_t *reason_or_null(const char *reason)
{
    return reason && reason[0] ? json_string(reason) : json_null();
}

json_t *migrate_report_to_json(const struct migrate_report *report)
{
    const json_t *source = report->source;
    CLEANUP_JSON json_t *gains = gains_to_json(source);
    CLEANUP_JSON json_t *encryption = encryption_to_json(source);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:O?}", "from",
        report->from, "to", report->to, "engine", report->engine, "outcome", report->outcome,
        "options", options_to_json(source), "total_ms", milliseconds(source, "total_ns"),
        "blackout_ms", milliseconds(source, "blackout_ns"), "predicted_blackout_ms",
        milliseconds(source, "predicted_blackout_ns"), "guest_stopped_ms", guest_stopped(report),
        "bytes", integer(source, "bytes_sent"), "device_state_bytes",
        integer(source, "device_state_bytes"), "blackout_parts", blackout_to_json(source), "rounds",
        rounds_to_json(source), "forecast", report->forecast);
    json_object_update(json, gains);
    json_object_update(json, encryption);
    json_object_set_new(json, "engine_reason", reason_or_null(report->engine_reason));
    return json;
}
