/* The machine that leaves by Drover's engine: see source_guest.h. */
#include "mover/source_guest.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parallel.h"

#define LOOKING_MOST 8        /* threads */
#define LOOKING_WORTH 524288u /* pages: about a millisecond of a thread */

/* While the guest runs, QEMU repeats video memory until what is left takes this long; after a while
 * that ends. */
#define LEFTOVER_MS 2
#define LEFTOVER_HURRIED_MS 2000
#define HURRY_AFTER_NS (250 * NANOSECONDS_PER_MILLISECOND)

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
    log_info("writers to %llu MiB wait: at most %llu KiB/s are dirtied there",
             (unsigned long long)(page_set_count(where) * ENGINE_PAGE_SIZE >> 20),
             (unsigned long long)(bytes_per_second >> 10));
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

/* Lets the engine keep up with a guest that still writes. One that draws faster than QEMU sends is
 * stopped all the same. */
static int hurry(void *pilot, const struct source_stream_emitter *emitter, struct error *err)
{
    struct source_guest *source = pilot;
    int result = emitter->emit(emitter->context, NULL, 0, err);
    if (result < 0 || source->hurried ||
        clock_monotonic_ns() - source->stream.marks.begun_ns < HURRY_AFTER_NS) {
        return result;
    }
    source->hurried = true;
    return qemu_outgoing_hurry(&source->stream.qmp, LEFTOVER_HURRIED_MS, err);
}

static void hear(void *pilot, const json_t *event)
{
    struct source_guest *source = pilot;
    if (qemu_migration_news(event) == QEMU_NEWS_STOPPED) {
        engine_tracker_hasten(&source->tracker); /* what still writes is I/O that must end */
    }
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct source_guest *source = guest;
    struct source_stream_emitter emitter = {emit, context};
    struct source_stream_pilot pilot = {.steer = hurry, .hear = hear, .pilot = source};
    return source_stream_stop(&source->stream, &pilot, &emitter, err);
}

static uint64_t stopped_ns(void *guest)
{
    return ((struct source_guest *)guest)->stream.marks.stopped_ns;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct source_guest *source = guest;
    struct source_stream_emitter emitter = {emit, context};
    return source_stream_finish(&source->stream, &emitter, err);
}

static int resume(void *guest, struct error *err)
{
    return source_stream_resume(&((struct source_guest *)guest)->stream, err);
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

/* A guest that stands still waits for nothing but this, so all processors look; while it runs, too:
 * it is as much work, and sooner over. */
static void use_threads(struct source_guest *source)
{
    engine_tracker_use_threads(&source->tracker, parallel_threads(LOOKING_MOST), LOOKING_WORTH);
}

static int prepare(struct source_guest *source, const struct mover_setup *setup, struct error *err)
{
    int result = map_memory(source, setup, err);
    if (result == 0) {
        result =
            engine_tracker_init(&source->tracker, setup->userfaultfd, setup->pagemap_fd,
                                setup->memory_fd, setup->memory_address, setup->memory_size, err);
    }
    if (result == 0) {
        engine_tracker_set_watch(&source->tracker, setup->watch_fd);
        use_threads(source);
        prepare_pacing(source, setup);
    }
    return result;
}

static void release(struct source_guest *source)
{
    if (source->memory) {
        munmap(source->memory, source->guest.memory_size);
    }
    source_stream_done(&source->stream);
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
    const struct qemu_outgoing outgoing = {.leftover_ms = LEFTOVER_MS};
    *source = (struct source_guest){.guest = {.operations = &operations,
                                              .guest = source,
                                              .memory_size = setup->memory_size,
                                              .memory_fd = setup->memory_fd}};
    int result = source_stream_init(&source->stream, setup, &outgoing, err);
    if (result < 0) {
        return result;
    }
    result = prepare(source, setup, err);
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
