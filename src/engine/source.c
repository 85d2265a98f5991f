/*
 * The source side of a move: states, handshake, and the end of a move in each of its ways.
 *
 * Theory of operation. Everything up to the destination's READY can fail, and then the move is
 * undone: the guest is resumed (first of all: its users wait), the destination is told if it can
 * be, tracking ends. Then comes the single atomic act, commit(). After it there is nothing to undo:
 * the guest belongs to the destination, whether or not its word that it runs ever arrives.
 *
 * Limits: a destination that neither says nor takes anything is given up after 30 s, one that is
 * not READY 10 s after the end of the state likewise; its word that it runs is awaited for 30 s.
 */
#include "engine/source.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/delta_cache.h"
#include "engine/handshake.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

#define DELTA_SHARE 16u                        /* of guest memory is kept for differences */
#define DELTA_BYTES_MOST ((uint64_t)256 << 20) /* and no more than this */

struct state_row {
    const char *name;
    unsigned next; /* bits of the states that may follow */
};

#define BIT(state) (1u << (state))
static const struct state_row state_rows[] = {
    [SOURCE_CONNECT] = {"connect", BIT(SOURCE_PRECOPY) | BIT(SOURCE_ABORTED)},
    [SOURCE_PRECOPY] = {"pre-copy", BIT(SOURCE_STOPPING) | BIT(SOURCE_ABORTED)},
    [SOURCE_STOPPING] = {"stopping", BIT(SOURCE_LAST_PASS) | BIT(SOURCE_ABORTED)},
    [SOURCE_LAST_PASS] = {"last pass", BIT(SOURCE_SAVING) | BIT(SOURCE_ABORTED)},
    [SOURCE_SAVING] = {"saving", BIT(SOURCE_AWAIT_READY) | BIT(SOURCE_ABORTED)},
    [SOURCE_AWAIT_READY] = {"await ready", BIT(SOURCE_COMMITTING) | BIT(SOURCE_ABORTED)},
    [SOURCE_COMMITTING] = {"committing", BIT(SOURCE_AWAIT_RUNNING) | BIT(SOURCE_ABORTED)},
    [SOURCE_AWAIT_RUNNING] = {"await running", BIT(SOURCE_DONE)},
    [SOURCE_DONE] = {"done", 0},
    [SOURCE_ABORTED] = {"aborted", 0},
};

void source_set_state(struct source *source, enum source_state state)
{
    assert(state_rows[source->state].next & BIT(state));
    source->state = state;
}

const char *source_state_name(enum source_state state)
{
    return state_rows[state].name;
}

uint64_t source_now(const struct source *source)
{
    return source->clock->now_ns(source->clock->clock);
}

uint64_t source_lap(struct source *source)
{
    uint64_t now_ns = source_now(source);
    uint64_t lap_ns = now_ns - source->lap_began_ns;
    source->lap_began_ns = now_ns;
    return lap_ns;
}

static int greet(struct source *source, unsigned *ret_channels_most, struct error *err)
{
    const struct engine_source_options *options = source->options;
    struct handshake_terms terms = {options->token, options->move_id, source->guest->memory_size};
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    unsigned channels = source->lanes ? options->channels : 1;
    source->last_sent_ns = source_now(source);
    int result = handshake_send_hello(&source->stream, &terms, 0, channels, err);
    if (result == 0) {
        result = source_expect_greeting(source, body, &length, err);
    }
    return result < 0 ? result
                      : handshake_check_welcome(&terms, body, length, ret_channels_most, err);
}

/* Further connections, as many as both sides want. */
static int open_lanes(struct source *source, unsigned channels_most, struct error *err)
{
    const struct engine_lanes *lanes = source->lanes;
    unsigned channels = source->options->channels;
    unsigned count = channels < channels_most ? channels : channels_most;
    if (!lanes || count < 2) {
        source->lanes = NULL;
        return 0;
    }
    int result = lanes->operations->open(lanes->lanes, count - 1, &source->terms, err);
    if (result == 0) {
        source->lanes = NULL;
    }
    return result < 0 ? result : 0;
}

static int shake_hands(struct source *source, struct error *err)
{
    unsigned channels_most;
    source_progress_phase(source, ENGINE_PHASE_CONNECT);
    int result = greet(source, &channels_most, err);
    if (result == 0) {
        source->started_ns = source_now(source);
        result = open_lanes(source, channels_most, err);
    }
    return result;
}

/* The move is off; the source owns the VM. */
static enum engine_outcome abandon(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    enum source_state failed_in = source->state;
    enum engine_outcome outcome = ENGINE_OUTCOME_STAYED;
    struct error resume_error = ERROR_NONE;
    source_set_state(source, SOURCE_ABORTED);
    if (failed_in >= SOURCE_STOPPING &&
        guest->operations->resume(guest->guest, &resume_error) < 0) {
        outcome = ENGINE_OUTCOME_STRANDED;
    }
    if (failed_in >= SOURCE_LAST_PASS) {
        source->statistics->blackout.run_ns = source_lap(source);
    }
    if (failed_in >= SOURCE_PRECOPY) {
        source_pace_note(source);
        guest->operations->stop_tracking(guest->guest);
    }
    stream_last_words(&source->stream, err);
    stream_send_abort(&source->stream, err, NULL); /* best effort: a lost channel says it too */
    enum engine_phase phase = err->code == ECANCELED ? ENGINE_PHASE_CANCELLED : ENGINE_PHASE_FAILED;
    if (outcome == ENGINE_OUTCOME_STRANDED) {
        struct error first = *err;
        error_set(err, resume_error.code,
                  "the guest could not be resumed: %.300s (the move had failed: %.300s)",
                  resume_error.message, first.message);
    }
    source_progress_phase(source, phase);
    return outcome;
}

static int await_running(struct source *source, struct error *err)
{
    uint8_t body[WIRE_RUNNING_SIZE];
    struct error missing = ERROR_NONE;
    int result = source_send(source, WIRE_RUN, NULL, 0, &missing);
    if (result == 0) {
        result = source_expect(source, WIRE_RUNNING, body, sizeof(body), SOURCE_RUNNING_LIMIT_NS,
                               &missing);
    }
    if (result < 0) {
        stream_last_words(&source->stream, &missing);
        error_set(err, missing.code,
                  "the VM belongs to the destination now, whose word that it runs is missing: %s",
                  missing.message);
        return error_remedy(err, "look at the VM on the destination host");
    }
    return 0;
}

/* The one decision, and what follows from it. */
static enum engine_outcome hand_over(struct source *source, struct error *err)
{
    struct engine_blackout *blackout = &source->statistics->blackout;
    source_set_state(source, SOURCE_COMMITTING);
    enum engine_verdict verdict = source->ownership->commit(
        source->ownership->ownership, source_now(source) - source->nothing_came_ns);
    blackout->commit_ns = source_lap(source);
    if (verdict == ENGINE_OWNER_SOURCE) {
        error_set(err, ECONNRESET,
                  "the destination withdrew, or the VM was taken back, before it was handed over");
        return abandon(source, err);
    }
    source_set_state(source, SOURCE_AWAIT_RUNNING);
    await_running(source, err);
    blackout->run_ns = source_lap(source);
    source_set_state(source, SOURCE_DONE);
    source_pace_note(source);
    source->guest->operations->stop_tracking(source->guest->guest);
    source_progress_phase(source, ENGINE_PHASE_DONE);
    return ENGINE_OUTCOME_MOVED;
}

static enum engine_outcome run(struct source *source, struct error *err)
{
    int result = shake_hands(source, err);
    if (result == 0) {
        result = source_precopy(source, err);
    }
    if (result == 0) {
        result = source_switch_over(source, err);
    }
    return result < 0 ? abandon(source, err) : hand_over(source, err);
}

/* The figures that are sums, or known only at the end. */
static void finish_statistics(struct source *source)
{
    struct engine_statistics *statistics = source->statistics;
    const struct engine_blackout *blackout = &statistics->blackout;
    source_round_record(source);
    statistics->bytes_sent = source_bytes_sent(source);
    statistics->content_bytes = source->figures.content_bytes;
    statistics->pages_lz4 = source->figures.pages_packed[PACK_LZ4];
    statistics->pages_zstd = source->figures.pages_packed[PACK_ZSTD];
    statistics->pages_delta = source->figures.pages_packed[PACK_DELTA];
    if (statistics->channels == 0) {
        statistics->channels = 1;
    }
    statistics->total_ns = source->started_ns ? source_now(source) - source->started_ns : 0;
    statistics->blackout_ns = blackout->last_pass_ns + blackout->save_state_ns +
                              blackout->load_state_ns + blackout->commit_ns + blackout->run_ns;
}

static void source_free(struct source *source)
{
    lane_sender_done(&source->lane);
    delta_cache_free(source->terms.cache);
    page_set_done(&source->pending);
    page_set_done(&source->dropped);
    page_set_done(&source->delivered);
    page_set_done(&source->told_zero);
    page_set_done(&source->held);
    page_set_done(&source->deferred);
    page_set_done(&source->written);
    page_set_done(&source->pacing.where);
    heat_done(&source->heat);
    page_set_done(&source->new_dirty);
    page_set_done(&source->new_dropped);
    free(source);
}

static struct source *source_new(uint64_t pages)
{
    struct source *source = calloc(1, sizeof(*source));
    if (!source) {
        return NULL;
    }
    if (page_set_init(&source->pending, pages) < 0 || page_set_init(&source->dropped, pages) < 0 ||
        page_set_init(&source->delivered, pages) < 0 ||
        page_set_init(&source->told_zero, pages) < 0 || page_set_init(&source->held, pages) < 0 ||
        page_set_init(&source->deferred, pages) < 0 || page_set_init(&source->written, pages) < 0 ||
        page_set_init(&source->pacing.where, pages) < 0 || heat_init(&source->heat, pages) < 0 ||
        page_set_init(&source->new_dirty, pages) < 0 ||
        page_set_init(&source->new_dropped, pages) < 0) {
        source_free(source);
        return NULL;
    }
    return source;
}

static int init_lane(struct source *source, struct error *err)
{
    uint64_t memory_size = source->guest->memory_size;
    source->terms = (struct lane_terms){.guest = source->guest,
                                        .clock = source->clock,
                                        .delivered = &source->delivered,
                                        .compress = source->options->compress};
    if (source->options->compress) {
        uint64_t most = memory_size / DELTA_SHARE;
        source->terms.cache = delta_cache_new(
            memory_size / ENGINE_PAGE_SIZE, most < DELTA_BYTES_MOST ? most : DELTA_BYTES_MOST, err);
        if (!source->terms.cache) {
            return -err->code;
        }
    }
    return lane_sender_init(&source->lane, &source->stream, &source->terms, true, err);
}

enum engine_outcome
engine_source_run(const struct engine_source_options *options,
                  const struct engine_source_guest *guest, const struct engine_channel *channel,
                  const struct engine_lanes *lanes, const struct engine_clock *clock,
                  const struct engine_ownership *ownership, const struct engine_observer *observer,
                  struct engine_statistics *ret_statistics, struct error *err)
{
    *ret_statistics = (struct engine_statistics){0};
    struct source *source = source_new(guest->memory_size / ENGINE_PAGE_SIZE);
    if (!source) {
        error_set(err, ENOMEM, "no memory to keep track of %llu pages",
                  (unsigned long long)(guest->memory_size / ENGINE_PAGE_SIZE));
        return ENGINE_OUTCOME_STAYED;
    }
    source->options = options;
    source->guest = guest;
    source->lanes = lanes;
    source->clock = clock;
    source->ownership = ownership;
    source->observer = observer;
    source->stream = (struct stream){.channel = channel, .peer = "destination"};
    source->statistics = ret_statistics;
    source->wire_share = 1;
    source->progress.predicted_blackout_ns = UINT64_MAX;
    enum engine_outcome outcome = ENGINE_OUTCOME_STAYED;
    if (init_lane(source, err) == 0) {
        outcome = run(source, err);
    }
    if (lanes) {
        lanes->operations->close(lanes->lanes);
    }
    finish_statistics(source);
    source_free(source);
    return outcome;
}
