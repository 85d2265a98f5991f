/* Figures as JSON: see report.h. */
#include "mover/report.h"

#include "base/clock.h"
#include "base/json.h"
#include "mover/setup_document.h"

/* UINT64_MAX stands for "cannot tell". */
static json_t *estimate(uint64_t value)
{
    return value == UINT64_MAX ? json_null() : json_integer((json_int_t)value);
}

#define INTEGER(structure, member) #member, (json_int_t)(structure)->member

json_t *report_progress(const struct engine_progress *progress)
{
    return json_pack("{s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o}", "event",
                     "progress", "phase", engine_phase_name(progress->phase), "fraction",
                     progress->fraction, INTEGER(progress, round), INTEGER(progress, bytes_sent),
                     INTEGER(progress, bytes_remaining), INTEGER(progress, rate),
                     INTEGER(progress, dirty_rate), INTEGER(progress, elapsed_ns), "paced",
                     progress->paced, "remaining_ns", estimate(progress->remaining_ns),
                     "predicted_blackout_ns", estimate(progress->predicted_blackout_ns));
}

json_t *report_result(enum engine_outcome outcome, const struct error *err, json_t *statistics)
{
    static const char *const names[] = {[ENGINE_OUTCOME_MOVED] = "moved",
                                        [ENGINE_OUTCOME_STAYED] = "stayed",
                                        [ENGINE_OUTCOME_STRANDED] = "stranded"};
    json_t *result = json_pack("{s:s, s:s, s:o}", "event", "result", "outcome", names[outcome],
                               "statistics", statistics);
    if (outcome != ENGINE_OUTCOME_MOVED) {
        CLEANUP_JSON json_t *error = json_from_error(err);
        json_object_update(result, error);
    }
    return result;
}

static json_t *rounds(const struct engine_statistics *statistics)
{
    json_t *list = json_array();
    uint32_t kept =
        statistics->round_count < ENGINE_ROUNDS_KEPT ? statistics->round_count : ENGINE_ROUNDS_KEPT;
    for (uint32_t i = 0; i < kept; i++) {
        const struct engine_round *round = &statistics->rounds[i];
        json_array_append_new(
            list, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", INTEGER(round, number),
                            INTEGER(round, pages_to_send), INTEGER(round, pages_sent),
                            INTEGER(round, pages_zero), INTEGER(round, bytes_sent),
                            INTEGER(round, duration_ns), INTEGER(round, pages_dirtied)));
    }
    return list;
}

static json_t *blackout(const struct engine_blackout *parts)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", INTEGER(parts, last_pass_ns),
                     INTEGER(parts, save_state_ns), INTEGER(parts, load_state_ns),
                     INTEGER(parts, commit_ns), INTEGER(parts, run_ns));
}

/* What the engine did to be faster, and what it cost the guest. */
static json_t *gains(const struct engine_statistics *statistics)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", INTEGER(statistics, channels),
                     INTEGER(statistics, content_bytes), INTEGER(statistics, pages_lz4),
                     INTEGER(statistics, pages_zstd), INTEGER(statistics, pages_delta),
                     INTEGER(statistics, pages_deferred), INTEGER(statistics, paced_ns),
                     INTEGER(statistics, writers_waited_ns));
}

json_t *report_source_statistics(const struct engine_statistics *statistics,
                                 const struct engine_source_options *options)
{
    CLEANUP_JSON json_t *more = gains(statistics);
    json_t *report =
        json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "rounds", rounds(statistics),
                  INTEGER(statistics, round_count), INTEGER(statistics, bytes_sent),
                  INTEGER(statistics, device_state_bytes), INTEGER(statistics, total_ns),
                  INTEGER(statistics, blackout_ns), "predicted_blackout_ns",
                  estimate(statistics->predicted_blackout_ns), "blackout",
                  blackout(&statistics->blackout), "options", mover_options_encode(options));
    json_object_update(report, more);
    return report;
}

json_t *report_destination_statistics(const struct engine_destination_statistics *statistics)
{
    return json_pack("{s:I, s:I, s:I, s:I}", INTEGER(statistics, bytes_received),
                     INTEGER(statistics, pages_received), INTEGER(statistics, load_state_ns),
                     INTEGER(statistics, run_ns));
}

void report_add_moment(json_t *statistics, const char *key, uint64_t monotonic_ns)
{
    if (monotonic_ns > 0) {
        uint64_t age = clock_monotonic_ns() - monotonic_ns;
        json_object_set_new(statistics, key, json_integer((json_int_t)(clock_realtime_ns() - age)));
    }
}

void report_add_encryption(json_t *statistics, const struct secure_channel_facts *facts)
{
    const char *by = facts->in_kernel ? "kernel" : "openssl";
    CLEANUP_JSON json_t *part =
        json_pack("{s:s, s:s?, s:s?}", "encryption", facts->encrypted ? "tls13" : "none",
                  "encryption_by", facts->encrypted ? by : NULL, "cipher", facts->cipher);
    json_object_update(statistics, part);
}
