/*
 * The switchover up to the destination's READY: stop, last pages, device state. Every failure here
 * is still the source's to undo.
 *
 * From the order to stop until the vCPUs stand still may take long: what of the device state can be
 * sent before is sent before. Meanwhile the guest writes, so what it writes is sent, too, at short
 * intervals: the last pass has only the end of that to send. All of this goes over channel 0, where
 * nothing overtakes anything: pages of the last round may be sent several times.
 *
 * Pages first, then the device state, which is saved meanwhile: the destination loads it as it
 * comes, and devices look into guest memory while they load (a virtio queue into its rings). What
 * saving the state dirtied all the same is collected and sent after it, while the destination is
 * loading.
 */
#include "base/clock.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

#define KEEP_UP_NS (4 * NANOSECONDS_PER_MILLISECOND) /* between two looks, at least */
#define KEEP_UP_SHARE 4u /* of the time goes into looking, at most one part in so many */

/* The guest is about to stop, but still writes. When there is no more time all goes at the end. */
static bool must_keep_up(const struct source *source)
{
    uint64_t interval_ns = source->collect_took_ns * KEEP_UP_SHARE;
    interval_ns = interval_ns > KEEP_UP_NS ? interval_ns : KEEP_UP_NS;
    return source->state == SOURCE_STOPPING && !source->guest->operations->progress &&
           !source->time_is_up && source_now(source) - source->collected_ns >= interval_ns;
}

static int collect_and_send(struct source *source, struct error *err)
{
    int result = source_collect(source, err);
    lane_sender_resume(&source->lane); /* device state has gone the same way */
    return result < 0 ? result : source_send_pages(source, err);
}

static int look_around(struct source *source, struct error *err)
{
    int result = source_pause(source, 0, err);
    if (result == 0 && must_keep_up(source)) {
        result = collect_and_send(source, err);
    }
    source_progress_sample(source);
    return result;
}

/* Device state on its way from the guest: cut into frames. */
static int emit_state(void *context, const void *bytes, size_t length, struct error *err)
{
    struct source *source = context;
    const uint8_t *at = bytes;
    if (length == 0) {
        return look_around(source, err);
    }
    while (length > 0) {
        size_t part = length < WIRE_STATE_MOST ? length : WIRE_STATE_MOST;
        uint64_t before = source->stream.bytes_sent;
        int result = source_check(source, err);
        if (result == 0) {
            result = source_send(source, WIRE_DEVICE_STATE, at, part, err);
        }
        if (result < 0) {
            return result;
        }
        source->round_bytes_before += source->stream.bytes_sent - before; /* not the round's */
        source->statistics->device_state_bytes += part;
        at += part;
        length -= part;
    }
    return 0;
}

static int stop_guest(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    source_set_state(source, SOURCE_STOPPING);
    int result = guest->operations->stop(guest->guest, emit_state, source, err);
    if (result < 0) {
        return result;
    }
    source->lap_began_ns = guest->operations->stopped_ns
                               ? guest->operations->stopped_ns(guest->guest)
                               : source_now(source);
    source_pace_note(source);
    source_set_state(source, SOURCE_LAST_PASS);
    return 0;
}

static int send_last_pages(struct source *source, struct error *err)
{
    int result = collect_and_send(source, err);
    source->statistics->blackout.last_pass_ns += source_lap(source);
    return result;
}

static int save_state(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    source_set_state(source, SOURCE_SAVING);
    int result = guest->operations->finish_state(guest->guest, emit_state, source, err);
    source->statistics->blackout.save_state_ns += source_lap(source);
    return result;
}

/* Where the last pages went over several connections, the device state must not overtake them: the
 * destination waits for the end of that round before it takes anything more. */
static int fence(struct source *source, struct error *err)
{
    if (!source->on_lanes) {
        return 0;
    }
    int result = source_end_round(source, err);
    source->round.duration_ns = source_now(source) - source->round_began_ns;
    source->statistics->blackout.last_pass_ns += source_lap(source);
    source_begin_round(source);
    return result;
}

/* The last round: what was written up to the stop, and by saving the state. */
static int last_round(struct source *source, struct error *err)
{
    int result = send_last_pages(source, err);
    if (result == 0) {
        result = fence(source, err);
    }
    if (result == 0) {
        result = save_state(source, err);
    }
    if (result == 0) {
        result = send_last_pages(source, err);
    }
    if (result == 0) {
        result = source_end_round(source, err);
    }
    source->round.duration_ns = source_now(source) - source->round_began_ns;
    return result;
}

static int end_state(struct source *source, struct error *err)
{
    uint8_t body[WIRE_STATE_END_SIZE];
    struct wire_state_end end = {.state_bytes = source->statistics->device_state_bytes};
    wire_state_end_encode(&end, body);
    source_set_state(source, SOURCE_AWAIT_READY);
    source->nothing_came_ns = source_now(source);
    int result = source_send(source, WIRE_STATE_END, body, sizeof(body), err);
    source->statistics->blackout.save_state_ns += source_lap(source);
    return result;
}

static int await_ready(struct source *source, struct error *err)
{
    uint8_t body[WIRE_READY_SIZE];
    int result = source_await_rounds(source, err);
    if (result == 0) {
        result = source_expect(source, WIRE_READY, body, sizeof(body), SOURCE_READY_LIMIT_NS, err);
    }
    source->statistics->blackout.load_state_ns = source_lap(source);
    return result;
}

static void begin_switchover(struct source *source)
{
    source_progress_phase(source, ENGINE_PHASE_SWITCHOVER);
    source->statistics->predicted_blackout_ns = source->progress.predicted_blackout_ns;
    source->statistics->pages_deferred = page_set_count(&source->deferred);
    source_begin_round(source);
}

/* With a guest that sends its memory by itself it is pre-copy up to the stop. */
int source_switch_over(struct source *source, struct error *err)
{
    bool sends_itself = source->guest->operations->progress;
    if (!sends_itself) {
        begin_switchover(source);
    }
    int result = stop_guest(source, err);
    if (result == 0 && sends_itself) {
        begin_switchover(source);
    }
    if (result == 0) {
        result = last_round(source, err);
    }
    if (result == 0) {
        result = end_state(source, err);
    }
    return result < 0 ? result : await_ready(source, err);
}
