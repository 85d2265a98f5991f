/*
 * The machine that leaves by QEMU's own migration: see native_guest.h.
 *
 * QEMU decides when to stop the guest: when what is left takes no longer than its downtime-limit,
 * which is the blackout target less what the device state takes. That it does not get there in time
 * is noticed here, and either ends the move or raises the limit so far that QEMU stops the guest
 * at once.
 */
#include "mover/native_guest.h"

#include <errno.h>

#include "base/clock.h"
#include "base/units.h"

#define ASK_NS (100 * NANOSECONDS_PER_MILLISECOND)
#define LOOK_NS (20 * NANOSECONDS_PER_MILLISECOND)
#define STREAMED_SHARE 0.98 /* of the way, when the guest stops: as with Drover's engine */
#define PAGE_SIZE 4096u

/* ---- pages: none ---- */

static int start_tracking(void *guest, struct error *err)
{
    (void)guest;
    (void)err;
    return 0;
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    (void)guest;
    (void)pages;
    (void)err;
    return 0;
}

static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    (void)guest;
    (void)within;
    (void)skip;
    (void)dirty;
    (void)dropped;
    (void)err;
    return 0;
}

static void stop_tracking(void *guest)
{
    (void)guest;
}

/* ---- the stream ---- */

/* What the rest would take now, on top of what the device state takes. */
static uint64_t predict_blackout(const struct native_guest *native)
{
    const struct qemu_transfer *transfer = &native->transfer;
    if (transfer->rate == 0) {
        return UINT64_MAX;
    }
    double seconds = (double)transfer->remaining / (double)transfer->rate;
    return (uint64_t)(seconds * NANOSECONDS_PER_SECOND) + native->options->device_state_ns;
}

static int refuse_longer(const struct native_guest *native, struct error *err)
{
    char limit[32], target[32], dirtied[32], rate[32];
    units_format_duration(native->options->timeout_ns, limit, sizeof(limit));
    units_format_duration(native->options->blackout_target_ns, target, sizeof(target));
    units_format_size(native->transfer.dirty_rate, dirtied, sizeof(dirtied));
    units_format_size(native->transfer.rate, rate, sizeof(rate));
    error_set(err, ETIMEDOUT,
              "within %s QEMU's own migration could not stop the guest for as little as %s: it "
              "dirties %s/s, the link carries %s/s",
              limit, target, dirtied, rate);
    return error_remedy(err, "allow a longer blackout (--blackout) or more time (--timeout), or "
                             "move it when it is less busy");
}

/* The time limit is over. */
static int end_in_time(struct native_guest *native, struct error *err)
{
    if (native->options->on_timeout == ENGINE_ON_TIMEOUT_ABORT) {
        return refuse_longer(native, err);
    }
    native->hurried = true;
    return qemu_outgoing_hurry(&native->stream.qmp, QEMU_LEFTOVER_MOST_MS, err);
}

static bool time_is_over(const struct native_guest *native, uint64_t now_ns)
{
    uint64_t timeout_ns = native->options->timeout_ns;
    return !native->hurried && timeout_ns > 0 &&
           now_ns - native->stream.marks.begun_ns >= timeout_ns;
}

static int ask(struct native_guest *native, uint64_t now_ns, struct error *err)
{
    if (native->asked || now_ns - native->asked_ns < ASK_NS) {
        return 0;
    }
    native->asked = true;
    native->asked_ns = now_ns;
    return qemu_outgoing_ask(&native->stream.qmp, err);
}

static int steer(void *pilot, const struct source_stream_emitter *emitter, struct error *err)
{
    struct native_guest *native = pilot;
    uint64_t now_ns = clock_monotonic_ns();
    int result = time_is_over(native, now_ns) ? end_in_time(native, err) : 0;
    if (result == 0) {
        result = ask(native, now_ns, err);
    }
    if (result == 0 && now_ns - native->looked_ns >= LOOK_NS) {
        native->looked_ns = now_ns;
        result = emitter->emit(emitter->context, NULL, 0, err);
    }
    return result;
}

static void hear(void *pilot, const json_t *event)
{
    struct native_guest *native = pilot;
    if (qemu_outgoing_told(event, &native->transfer)) {
        native->asked = false;
    }
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct native_guest *native = guest;
    struct source_stream_emitter emitter = {emit, context};
    struct source_stream_pilot pilot = {.steer = steer, .hear = hear, .pilot = native};
    int result = source_stream_stop(&native->stream, &pilot, &emitter, err);
    uint64_t most = native->transfer.rate * native->leftover_ms / 1000;
    if (result == 0 && !native->hurried && native->transfer.remaining > most) {
        native->transfer.remaining = most; /* what QEMU told is older than its decision to stop */
    }
    return result;
}

static uint64_t stopped_ns(void *guest)
{
    return ((struct native_guest *)guest)->stream.marks.stopped_ns;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct native_guest *native = guest;
    struct source_stream_emitter emitter = {emit, context};
    return source_stream_finish(&native->stream, &emitter, err);
}

static int resume(void *guest, struct error *err)
{
    return source_stream_resume(&((struct native_guest *)guest)->stream, err);
}

/* ---- figures ---- */

static uint64_t estimate_remaining(const struct qemu_transfer *transfer)
{
    if (transfer->rate <= transfer->dirty_rate) {
        return UINT64_MAX;
    }
    double seconds = (double)transfer->remaining / (double)(transfer->rate - transfer->dirty_rate);
    return (uint64_t)(seconds * NANOSECONDS_PER_SECOND);
}

static void progress(void *guest, struct engine_progress *progress)
{
    const struct native_guest *native = guest;
    const struct qemu_transfer *transfer = &native->transfer;
    if (transfer->total == 0) {
        return; /* QEMU has not told anything yet */
    }
    double sent = 1 - (double)transfer->remaining / (double)transfer->total;
    double fraction = sent > 0 ? sent * STREAMED_SHARE : 0;
    progress->fraction = fraction > progress->fraction ? fraction : progress->fraction;
    progress->bytes_remaining = transfer->remaining;
    progress->rate = transfer->rate;
    progress->dirty_rate = transfer->dirty_rate;
    progress->remaining_ns = estimate_remaining(transfer);
    progress->predicted_blackout_ns = predict_blackout(native);
}

void native_guest_complete(struct native_guest *native, struct engine_statistics *statistics)
{
    const struct qemu_transfer *transfer = &native->transfer;
    const struct source_stream_marks *marks = &native->stream.marks;
    if (native->stream.state == SOURCE_STREAM_SAVED) {
        qemu_outgoing_transfer(&native->stream.qmp, &native->transfer, NULL);
    }
    uint64_t end_ns = marks->paused_ns > 0 ? marks->paused_ns : clock_monotonic_ns();
    if (marks->begun_ns == 0 || transfer->total == 0) {
        return;
    }
    statistics->round_count = 1;
    statistics->rounds[0] = (struct engine_round){.number = 1,
                                                  .pages_to_send = transfer->total / PAGE_SIZE,
                                                  .pages_sent = transfer->pages_sent,
                                                  .pages_zero = transfer->pages_zero,
                                                  .bytes_sent = transfer->sent,
                                                  .duration_ns = end_ns - marks->begun_ns};
    statistics->content_bytes = transfer->pages_sent * PAGE_SIZE;
    statistics->device_state_bytes -= transfer->sent < statistics->device_state_bytes
                                          ? transfer->sent
                                          : statistics->device_state_bytes;
}

/* ---- the whole ---- */

/* QEMU's downtime-limit is of memory alone. */
static uint64_t leftover_ms(const struct engine_source_options *options)
{
    uint64_t target_ns = options->blackout_target_ns, state_ns = options->device_state_ns;
    uint64_t left_ms =
        target_ns > state_ns ? (target_ns - state_ns) / NANOSECONDS_PER_MILLISECOND : 0;
    left_ms = left_ms > 0 ? left_ms : 1;
    return left_ms < QEMU_LEFTOVER_MOST_MS ? left_ms : QEMU_LEFTOVER_MOST_MS;
}

int native_guest_init(struct native_guest *native, const struct mover_setup *setup,
                      struct error *err)
{
    static const struct engine_source_guest_operations operations = {
        .start_tracking = start_tracking,
        .collect_populated = collect_populated,
        .collect_dirty = collect_dirty,
        .stop_tracking = stop_tracking,
        .stop = stop,
        .stopped_ns = stopped_ns,
        .finish_state = finish_state,
        .resume = resume,
        .progress = progress,
    };
    const struct qemu_outgoing outgoing = {.memory = true,
                                           .throttle = setup->options.pace,
                                           .leftover_ms = leftover_ms(&setup->options),
                                           .bandwidth = setup->options.bandwidth_limit};
    *native = (struct native_guest){.options = &setup->options,
                                    .leftover_ms = outgoing.leftover_ms,
                                    .guest = {.operations = &operations,
                                              .guest = native,
                                              .memory_size = setup->memory_size,
                                              .memory_fd = -1}};
    return source_stream_init(&native->stream, setup, &outgoing, err);
}

void native_guest_done(struct native_guest *native)
{
    source_stream_done(&native->stream);
}
