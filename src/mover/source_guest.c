/*
 * The machine that leaves: see source_guest.h.
 *
 * Theory of operation. stop() has QEMU begin its stream and forwards it (ROMs, video memory) while
 * the guest still runs; QEMU then stops the guest and pauses (event MIGRATION pre-switchover).
 * finish_state() lets it go on and forwards the rest. QEMU's main loop can hang on a full pipe
 * while it saves devices, so whoever waits for its monitor drains the pipe at the same time:
 * follow() is the only place that waits.
 */
#include "mover/source_guest.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "vmm/qemu/migration.h"

#define BUFFER_SIZE ((size_t)1 << 20)
#define HURRY_AFTER_NS (250 * NANOSECONDS_PER_MILLISECOND)
#define STALL_NS (30 * NANOSECONDS_PER_SECOND)

struct emitter {
    engine_emit_function *emit;
    void *context;
};

static void set_state(struct source_guest *source, enum source_guest_state state)
{
    assert(state == SOURCE_GUEST_RUNNING || state == source->state + 1);
    source->state = state;
}

/* ---- tracking ---- */

static int start_tracking(void *guest, struct error *err)
{
    return engine_tracker_start(&((struct source_guest *)guest)->tracker, err);
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    return engine_tracker_collect_populated(&((struct source_guest *)guest)->tracker, pages, err);
}

static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    return engine_tracker_collect_dirty(&((struct source_guest *)guest)->tracker, within, skip,
                                        dirty, dropped, err);
}

static int pace(void *guest, const struct page_set *where, uint64_t bytes_per_second,
                struct error *err)
{
    return engine_tracker_pace(&((struct source_guest *)guest)->tracker, where, bytes_per_second,
                               err);
}

static void end_pace(void *guest)
{
    engine_tracker_end_pace(&((struct source_guest *)guest)->tracker);
}

static uint64_t waited_ns(void *guest)
{
    return engine_tracker_waited_ns(&((struct source_guest *)guest)->tracker);
}

static void stop_tracking(void *guest)
{
    engine_tracker_stop(&((struct source_guest *)guest)->tracker);
}

/* ---- device state ---- */

/* Forwards what is in the pipe. 1 when there was something, 0 when not. */
static int drain(struct source_guest *source, const struct emitter *emitter, struct error *err)
{
    ssize_t got = source->pipe.reader < 0
                      ? -EAGAIN
                      : state_pipe_read(&source->pipe, source->buffer, BUFFER_SIZE, err);
    if (got > 0) {
        int result = emitter->emit(emitter->context, source->buffer, (size_t)got, err);
        return result < 0 ? result : 1;
    }
    if (got == 0) {
        close_fd(&source->pipe.reader); /* the stream's end */
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

/* Takes the events that are there. 1 when the wanted news was among them. */
static int take_events(struct source_guest *source, enum qemu_migration_news wanted,
                       struct error *err)
{
    for (;;) {
        CLEANUP_JSON json_t *event = NULL;
        int result = qmp_next_event(&source->qmp, 0, &event, err);
        if (result <= 0) {
            return result;
        }
        enum qemu_migration_news news = qemu_migration_news(event);
        if (news == QEMU_NEWS_STOPPED) {
            source->marks.stopped_ns = event_time(event, source->marks.begun_ns);
            engine_tracker_hasten(&source->tracker); /* what still writes is I/O that must end */
        }
        if (news == wanted) {
            return 1;
        }
        if (news == QEMU_NEWS_FAILED) {
            return qemu_migration_failure(&source->qmp, "QEMU cannot save the device state", err);
        }
    }
}

static int wait_for_either(const struct source_guest *source, uint64_t wait_ns)
{
    struct pollfd pollers[] = {{.fd = source->qmp.fd, .events = POLLIN},
                               {.fd = source->pipe.reader, .events = POLLIN}};
    return poll(pollers, 2, (int)(wait_ns / NANOSECONDS_PER_MILLISECOND));
}

/* Forwards the stream until QEMU has that news; after hurry_ns (0: never) it is told to hurry. */
static int follow(struct source_guest *source, enum qemu_migration_news wanted, uint64_t hurry_ns,
                  const struct emitter *emitter, struct error *err)
{
    uint64_t last_sign = clock_monotonic_ns();
    uint64_t hurry_at = hurry_ns ? last_sign + hurry_ns : UINT64_MAX;
    for (;;) {
        int result = take_events(source, wanted, err);
        if (result != 0) {
            return result < 0 ? result : 0;
        }
        result = drain(source, emitter, err);
        if (result < 0) {
            return result;
        }
        uint64_t now = clock_monotonic_ns();
        if (now >= hurry_at) {
            hurry_at = UINT64_MAX;
            result = qemu_outgoing_hurry(&source->qmp, err);
            if (result < 0) {
                return result;
            }
        }
        last_sign = result > 0 ? now : last_sign;
        if (now - last_sign > STALL_NS) {
            return error_set(err, ETIMEDOUT, "QEMU does not get on with its device state");
        }
        if (result == 0) {
            wait_for_either(source, HURRY_AFTER_NS);
        }
    }
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct source_guest *source = guest;
    struct emitter emitter = {emit, context};
    int result = state_pipe_open(&source->pipe, err);
    if (result < 0) {
        return result;
    }
    source->marks = (struct source_guest_marks){.begun_ns = clock_monotonic_ns()};
    set_state(source, SOURCE_GUEST_STREAMING);
    result = qemu_outgoing_begin(&source->qmp, source->pipe.writer, err);
    close_fd(&source->pipe.writer); /* QEMU has its own */
    if (result == 0) {
        result = follow(source, QEMU_NEWS_PAUSED, HURRY_AFTER_NS, &emitter, err);
    }
    source->marks.paused_ns = clock_monotonic_ns();
    if (result == 0) {
        result = qemu_outgoing_prepare_continue(&source->qmp, err);
    }
    if (result < 0) {
        return result;
    }
    set_state(source, SOURCE_GUEST_PAUSED);
    return 0;
}

static uint64_t stopped_ns(void *guest)
{
    return ((struct source_guest *)guest)->marks.stopped_ns;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct source_guest *source = guest;
    struct emitter emitter = {emit, context};
    set_state(source, SOURCE_GUEST_SAVING);
    source->marks.continued_ns = clock_monotonic_ns();
    int result = qemu_outgoing_continue(&source->qmp, err);
    if (result < 0) {
        return result;
    }
    taps_set_carrier(&source->taps, false); /* while QEMU saves */
    result = follow(source, QEMU_NEWS_COMPLETED, 0, &emitter, err);
    while (result == 0 && (result = drain(source, &emitter, err)) > 0) {
        result = 0; /* QEMU flushes the stream before it calls it complete: the rest is here */
    }
    if (result < 0) {
        return result;
    }
    source->marks.saved_ns = clock_monotonic_ns();
    set_state(source, SOURCE_GUEST_SAVED);
    return 0;
}

static int resume(void *guest, struct error *err)
{
    struct source_guest *source = guest;
    if (source->state == SOURCE_GUEST_RUNNING) {
        return 0;
    }
    state_pipe_close(&source->pipe); /* a QEMU that waits for us to read goes on with an error */
    taps_set_carrier(&source->taps, true);
    int result = qemu_outgoing_undo(&source->qmp, err);
    if (result < 0) {
        return error_wrap(err, "cannot take the guest back");
    }
    set_state(source, SOURCE_GUEST_RUNNING);
    return 0;
}

/* ---- the whole ---- */

static int map_memory(struct source_guest *source, const struct mover_setup *setup,
                      struct error *err)
{
    void *memory = mmap(NULL, setup->memory_size, PROT_READ, MAP_SHARED, setup->memory_fd, 0);
    if (memory == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map the guest's memory");
    }
    source->memory = memory;
    return 0;
}

/* QEMU's main loop: if it waited, so would all that it does for the guest, and for us. It is the
 * thread that listens on the monitor's socket. 0 when that cannot be told. */
static pid_t main_loop_of(int qmp_fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(qmp_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

/* A guest whose writers cannot be paced moves all the same. */
static void prepare_pacing(struct source_guest *source, const struct mover_setup *setup)
{
    struct error err = ERROR_NONE;
    if (setup->pacing_fd >= 0 && engine_tracker_set_pacer(&source->tracker, setup->pacing_fd,
                                                          main_loop_of(setup->qmp_fd), &err) < 0) {
        log_warning("%s: its writers are not paced", err.message);
    }
}

static int prepare(struct source_guest *source, const struct mover_setup *setup, struct error *err)
{
    int result = qmp_adopt(&source->qmp, setup->qmp_fd, err);
    if (result == 0) {
        result = qemu_outgoing_prepare(&source->qmp, err);
    }
    if (result == 0) {
        result = map_memory(source, setup, err);
    }
    if (result == 0) {
        result =
            engine_tracker_init(&source->tracker, setup->userfaultfd, setup->pagemap_fd,
                                setup->memory_fd, setup->memory_address, setup->memory_size, err);
    }
    if (result == 0) {
        engine_tracker_set_watch(&source->tracker, setup->watch_fd);
        prepare_pacing(source, setup);
    }
    source->buffer = malloc(BUFFER_SIZE);
    if (result == 0 && !source->buffer) {
        engine_tracker_done(&source->tracker);
        return error_set_errno(err, ENOMEM, "cannot relay the device state");
    }
    return result;
}

static void release(struct source_guest *source)
{
    if (source->memory) {
        munmap(source->memory, source->guest.memory_size);
    }
    free(source->buffer);
    state_pipe_close(&source->pipe);
    qmp_done(&source->qmp);
}

int source_guest_init(struct source_guest *source, const struct mover_setup *setup,
                      struct error *err)
{
    static const struct engine_source_guest_operations operations = {
        .start_tracking = start_tracking,
        .collect_populated = collect_populated,
        .collect_dirty = collect_dirty,
        .pace = pace,
        .end_pace = end_pace,
        .waited_ns = waited_ns,
        .stop_tracking = stop_tracking,
        .stop = stop,
        .stopped_ns = stopped_ns,
        .finish_state = finish_state,
        .resume = resume,
    };
    *source = (struct source_guest){.qmp = {.fd = -1},
                                    .pipe = STATE_PIPE_CLOSED,
                                    .taps = {setup->nics, setup->nic_count},
                                    .guest = {.operations = &operations,
                                              .guest = source,
                                              .memory_size = setup->memory_size,
                                              .memory_fd = setup->memory_fd}};
    int result = prepare(source, setup, err);
    if (result < 0) {
        release(source);
        return result;
    }
    source->guest.memory = source->memory;
    return 0;
}

void source_guest_done(struct source_guest *source)
{
    engine_tracker_done(&source->tracker);
    release(source);
}

static double milliseconds(uint64_t from, uint64_t to)
{
    return to > from ? (double)(to - from) / (double)NANOSECONDS_PER_MILLISECOND : 0;
}

void source_guest_log_marks(const struct source_guest *source)
{
    const struct source_guest_marks *marks = &source->marks;
    if (source->state == SOURCE_GUEST_SAVED) {
        log_info("stream began %.1f ms before the stop; stop to pause %.2f ms, last pass %.2f ms, "
                 "device state saved in %.2f ms",
                 milliseconds(marks->begun_ns, marks->stopped_ns),
                 milliseconds(marks->stopped_ns, marks->paused_ns),
                 milliseconds(marks->paused_ns, marks->continued_ns),
                 milliseconds(marks->continued_ns, marks->saved_ns));
    }
}
