/* The forecast of a move: see forecast.h. */
#include "agent/move/forecast.h"

#include <string.h>

#include "agent/move/check_list.h"
#include "agent/move/sampling.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/units.h"

#define LOOK_NS (2 * NANOSECONDS_PER_SECOND)
#define DEVICE_STATE_BYTES ((uint64_t)256 << 10) /* docs/platform.md: 200 to 330 KB */

static json_t *milliseconds(uint64_t nanoseconds)
{
    uint64_t microseconds = nanoseconds / NANOSECONDS_PER_MICROSECOND;
    return nanoseconds == UINT64_MAX ? json_null() : json_real((double)microseconds / 1000);
}

static struct engine_forecast_terms terms_of(const struct link_rate *link,
                                             const struct migrate_options *options)
{
    return (struct engine_forecast_terms){.link_rate = link->bytes_per_second,
                                          .bandwidth_limit = options->bandwidth_limit,
                                          .device_state_ns = MIGRATE_DEVICE_STATE_NS,
                                          .device_state_bytes = DEVICE_STATE_BYTES,
                                          .blackout_target_ns = options->blackout_target_ns,
                                          .timeout_ns = options->timeout_ns,
                                          .on_timeout = options->on_timeout,
                                          .pace = options->pace,
                                          .compress = options->compress};
}

static json_t *working_set(const struct engine_sample *sample)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < sample->point_count; i++) {
        json_array_append_new(list, json_pack("{s:o, s:I}", "within_ms",
                                              milliseconds(sample->points[i].after_ns), "bytes",
                                              (json_int_t)sample->points[i].bytes));
    }
    return list;
}

/* What was seen of the guest. */
static json_t *seen(const struct engine_sample *sample)
{
    uint64_t looked_ns =
        sample->point_count > 0 ? sample->points[sample->point_count - 1].after_ns : 0;
    double data = (double)sample->populated_bytes * (1 - sample->zero_share);
    return json_pack("{s:o, s:I, s:I, s:I, s:f, s:I, s:I, s:o}", "sampled_ms",
                     milliseconds(looked_ns), "memory_bytes", (json_int_t)sample->memory_bytes,
                     "memory_populated", (json_int_t)sample->populated_bytes, "memory_data",
                     (json_int_t)data, "packed_share", sample->packed_share, "dirty_rate",
                     (json_int_t)engine_sample_dirty_rate(sample), "dirty_always",
                     (json_int_t)sample->hot_bytes, "working_set", working_set(sample));
}

json_t *forecast_to_json(const struct engine_sample *sample, const struct link_rate *link,
                         const struct migrate_options *options)
{
    struct engine_forecast_terms terms = terms_of(link, options);
    struct engine_forecast forecast = engine_forecast(sample, &terms);
    CLEANUP_JSON json_t *part = seen(sample);
    json_t *whole = json_pack(
        "{s:n, s:i, s:o, s:o, s:I, s:b, s:b, s:b, s:o, s:f, s:s, s:I, s:s}", "problem", "rounds",
        (int)forecast.rounds, "duration_ms", milliseconds(forecast.duration_ns), "blackout_ms",
        milliseconds(forecast.blackout_ns), "bytes", (json_int_t)forecast.bytes, "keeps_blackout",
        forecast.keeps_target, "keeps_timeout", forecast.keeps_timeout, "paced",
        forecast.paced_ns > 0, "paced_ms", milliseconds(forecast.paced_ns), "writing_lost_pct",
        forecast.writing_lost * 100, "limited_by", engine_limit_name(forecast.limited_by),
        "link_rate", (json_int_t)link->bytes_per_second, "link_rate_source",
        link_rate_source_name(link->source));
    json_object_update(whole, part);
    return whole;
}

json_t *forecast_missing(const struct error *err)
{
    return json_pack("{s:o}", "problem", json_string_of_any(err->message));
}

static int look(struct agent *agent, const struct vm *vm, struct engine_sample *ret_sample,
                struct error *err)
{
    struct sampling *sampling;
    int result = sampling_begin(agent, vm, false, LOOK_NS, &sampling, err);
    return result < 0 ? result : sampling_end(sampling, false, ret_sample, err);
}

json_t *forecast_make(struct agent *agent, const struct vm *vm,
                      const struct migrate_options *options)
{
    struct engine_sample sample;
    struct error err = ERROR_NONE;
    struct link_rate link = link_rate_of(agent->config, options->to);
    if (look(agent, vm, &sample, &err) < 0) {
        return forecast_missing(&err);
    }
    return forecast_to_json(&sample, &link, options);
}

/* ---- warnings ---- */

static double number(const json_t *forecast, const char *key)
{
    return json_number_value(json_object_get(forecast, key));
}

static void warn_of_blackout(const json_t *forecast, const struct migrate_options *options,
                             json_t *checks)
{
    char blackout[32], target[32], dirtied[32], rate[32];
    double blackout_ms = number(forecast, "blackout_ms");
    units_format_duration((uint64_t)(blackout_ms * NANOSECONDS_PER_MILLISECOND), blackout,
                          sizeof(blackout));
    units_format_duration(options->blackout_target_ns, target, sizeof(target));
    units_format_size((uint64_t)number(forecast, "dirty_rate"), dirtied, sizeof(dirtied));
    uint64_t link_rate = (uint64_t)number(forecast, "link_rate");
    bool limited = options->bandwidth_limit > 0 && options->bandwidth_limit < link_rate;
    units_format_size(limited ? options->bandwidth_limit : link_rate, rate, sizeof(rate));
    char remedy[256];
    snprintf(remedy, sizeof(remedy), "allow a longer blackout (--blackout %.0f)%s",
             blackout_ms * 1.25 + 1,
             options->pace ? "" : ", let its writers be slowed (--pace on)");
    check_add(
        checks, CHECK_WARN, "forecast", remedy,
        "the guest dirties %s/s and the %s %s/s: it would be stopped for %s, the target is %s",
        dirtied, limited ? "bandwidth limit is" : "link carries", rate, blackout, target);
}

static void warn_of_timeout(const struct migrate_options *options, json_t *checks)
{
    char limit[32];
    units_format_duration(options->timeout_ns, limit, sizeof(limit));
    bool stops = options->on_timeout == ENGINE_ON_TIMEOUT_STOP;
    check_add(checks, CHECK_WARN, "forecast", "allow it more time, or a faster link",
              "the move would not be done within %s: then it %s", limit,
              stops ? "ends with a longer blackout" : "is given up, with the guest untouched");
}

void forecast_check(const json_t *forecast, const struct migrate_options *options, json_t *checks)
{
    if (json_is_false(json_object_get(forecast, "keeps_blackout"))) {
        warn_of_blackout(forecast, options, checks);
    }
    if (json_is_false(json_object_get(forecast, "keeps_timeout"))) {
        warn_of_timeout(options, checks);
    }
}
