/*
 * QEMU's stream out of the machine: see source_stream.h.
 *
 * Theory of operation. stop() has QEMU begin its stream and forwards it while the guest still runs
 * (ROMs, video memory; the guest's memory, of a native move); QEMU then stops the guest, ends its
 * I/O and pauses (event MIGRATION pre-switchover). It is told at once to go on: it saves into the
 * pipe, which as a rule holds all of it, while the engine sends the last pages; finish() forwards
 * it. QEMU's main loop can hang on a full pipe while it saves devices, so whoever waits for its
 * monitor drains the pipe at the same time: follow() is the only place that waits.
 */
#include "mover/source_stream.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#define BUFFER_SIZE ((size_t)1 << 20)
#define WAIT_NS (5 * NANOSECONDS_PER_MILLISECOND) /* at most, between two looks around */
#define STALL_NS (30 * NANOSECONDS_PER_SECOND)

static void set_state(struct source_stream *stream, enum source_stream_state state)
{
    assert(state == SOURCE_STREAM_RUNNING || state == stream->state + 1);
    stream->state = state;
}

/* Forwards what is in the pipe. 1 when there was something, 0 when not. */
static int drain(struct source_stream *stream, const struct source_stream_emitter *emitter,
                 struct error *err)
{
    ssize_t got = stream->pipe.reader < 0
                      ? -EAGAIN
                      : state_pipe_read(&stream->pipe, stream->buffer, BUFFER_SIZE, err);
    if (got > 0) {
        int result = emitter->emit(emitter->context, stream->buffer, (size_t)got, err);
        return result < 0 ? result : 1;
    }
    if (got == 0) {
        close_fd(&stream->pipe.reader); /* the stream's end */
    }
    return got == -EAGAIN ? 0 : (int)got;
}

/* An event's own time, on our clock: it may have waited for us. */
static uint64_t event_time(const json_t *event, uint64_t earliest)
{
    const json_t *stamp = json_object_get(event, "timestamp");
    uint64_t at =
        (uint64_t)json_integer_value(json_object_get(stamp, "seconds")) * NANOSECONDS_PER_SECOND +
        (uint64_t)json_integer_value(json_object_get(stamp, "microseconds")) *
            NANOSECONDS_PER_MICROSECOND;
    uint64_t now = clock_monotonic_ns();
    uint64_t realtime = clock_realtime_ns();
    uint64_t age = realtime > at ? realtime - at : 0;
    return now > age && now - age > earliest ? now - age : earliest;
}

/* From here on the guest waits for us; QEMU has its I/O to end yet. */
static int note_stop(struct source_stream *stream, const json_t *event, struct error *err)
{
    stream->marks.stopped_ns = event_time(event, stream->marks.begun_ns);
    return stream->state == SOURCE_STREAM_STREAMING
               ? qemu_outgoing_prepare_continue(&stream->qmp, err)
               : 0;
}

/* Takes the events that are there. 1 when the wanted news was among them. */
static int take_events(struct source_stream *stream, enum qemu_migration_news wanted,
                       const struct source_stream_pilot *pilot, struct error *err)
{
    for (;;) {
        CLEANUP_JSON json_t *event = NULL;
        int result = qmp_next_event(&stream->qmp, 0, &event, err);
        if (result <= 0) {
            return result;
        }
        if (pilot && pilot->hear) {
            pilot->hear(pilot->pilot, event);
        }
        enum qemu_migration_news news = qemu_migration_news(event);
        if (news == QEMU_NEWS_STOPPED && (result = note_stop(stream, event, err)) < 0) {
            return result;
        }
        if (news == wanted) {
            return 1;
        }
        if (news == QEMU_NEWS_FAILED) {
            return qemu_migration_failure(&stream->qmp, "QEMU cannot send its state", err);
        }
    }
}

static int wait_for_either(const struct source_stream *stream, uint64_t wait_ns)
{
    struct pollfd pollers[] = {{.fd = stream->qmp.fd, .events = POLLIN},
                               {.fd = stream->pipe.reader, .events = POLLIN}};
    return poll(pollers, 2, (int)(wait_ns / NANOSECONDS_PER_MILLISECOND));
}

/* Forwards the stream until QEMU has that news. `pilot` NULL: nobody steers. */
static int follow(struct source_stream *stream, enum qemu_migration_news wanted,
                  const struct source_stream_pilot *pilot,
                  const struct source_stream_emitter *emitter, struct error *err)
{
    uint64_t last_sign = clock_monotonic_ns();
    for (;;) {
        int result = take_events(stream, wanted, pilot, err);
        if (result != 0) {
            return result < 0 ? result : 0;
        }
        int drained = drain(stream, emitter, err);
        result = drained < 0 || !pilot ? drained : pilot->steer(pilot->pilot, emitter, err);
        if (result < 0) {
            return result;
        }
        uint64_t now = clock_monotonic_ns();
        last_sign = drained > 0 ? now : last_sign;
        if (now - last_sign > STALL_NS) {
            return error_set(err, ETIMEDOUT, "QEMU does not get on with its state");
        }
        if (drained == 0) {
            wait_for_either(stream, WAIT_NS);
        }
    }
}

int source_stream_stop(struct source_stream *stream, const struct source_stream_pilot *pilot,
                       const struct source_stream_emitter *emitter, struct error *err)
{
    int result = state_pipe_open(&stream->pipe, err);
    if (result < 0) {
        return result;
    }
    stream->marks = (struct source_stream_marks){.begun_ns = clock_monotonic_ns()};
    set_state(stream, SOURCE_STREAM_STREAMING);
    result = qemu_outgoing_begin(&stream->qmp, stream->pipe.writer, err);
    close_fd(&stream->pipe.writer); /* QEMU has its own */
    if (result == 0) {
        result = follow(stream, QEMU_NEWS_PAUSED, pilot, emitter, err);
    }
    stream->marks.paused_ns = clock_monotonic_ns();
    if (result == 0) {
        set_state(stream, SOURCE_STREAM_SAVING);
        result = qemu_outgoing_continue(&stream->qmp, err);
    }
    if (result < 0) {
        return result;
    }
    taps_set_carrier(&stream->taps, false); /* while QEMU saves */
    return 0;
}

int source_stream_finish(struct source_stream *stream, const struct source_stream_emitter *emitter,
                         struct error *err)
{
    stream->marks.looked_ns = clock_monotonic_ns();
    int result = follow(stream, QEMU_NEWS_COMPLETED, NULL, emitter, err);
    while (result == 0 && (result = drain(stream, emitter, err)) > 0) {
        result = 0; /* QEMU flushes the stream before it calls it complete: the rest is here */
    }
    if (result < 0) {
        return result;
    }
    stream->marks.saved_ns = clock_monotonic_ns();
    set_state(stream, SOURCE_STREAM_SAVED);
    return 0;
}

int source_stream_resume(struct source_stream *stream, struct error *err)
{
    if (stream->state == SOURCE_STREAM_RUNNING) {
        return 0;
    }
    state_pipe_close(&stream->pipe); /* a QEMU that waits for us to read goes on with an error */
    taps_set_carrier(&stream->taps, true);
    int result = qemu_outgoing_undo(&stream->qmp, err);
    if (result < 0) {
        return error_wrap(err, "cannot take the guest back");
    }
    set_state(stream, SOURCE_STREAM_RUNNING);
    return 0;
}

int source_stream_init(struct source_stream *stream, const struct mover_setup *setup,
                       const struct qemu_outgoing *outgoing, struct error *err)
{
    *stream = (struct source_stream){.qmp = {.fd = -1},
                                     .pipe = STATE_PIPE_CLOSED,
                                     .taps = {setup->nics, setup->nic_count},
                                     .buffer = malloc(BUFFER_SIZE)};
    int result = qmp_adopt(&stream->qmp, setup->qmp_fd, err);
    if (result == 0) {
        result = stream->buffer ? qemu_outgoing_prepare(&stream->qmp, outgoing, err)
                                : error_set_errno(err, ENOMEM, "cannot relay QEMU's state");
    }
    if (result < 0) {
        source_stream_done(stream);
    }
    return result;
}

void source_stream_done(struct source_stream *stream)
{
    free(stream->buffer);
    state_pipe_close(&stream->pipe);
    qmp_done(&stream->qmp);
}

static double milliseconds(uint64_t from, uint64_t to)
{
    return to > from ? (double)(to - from) / (double)NANOSECONDS_PER_MILLISECOND : 0;
}

void source_stream_log_marks(const struct source_stream *stream)
{
    const struct source_stream_marks *marks = &stream->marks;
    if (stream->state == SOURCE_STREAM_SAVED) {
        log_info("stream began %.1f ms before the stop; stop to pause %.2f ms, last pass %.2f ms, "
                 "device state complete %.2f ms later",
                 milliseconds(marks->begun_ns, marks->stopped_ns),
                 milliseconds(marks->stopped_ns, marks->paused_ns),
                 milliseconds(marks->paused_ns, marks->looked_ns),
                 milliseconds(marks->looked_ns, marks->saved_ns));
    }
}
