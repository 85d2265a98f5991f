/*
 * libFuzzer's entry: bytes as all that a destination answers over channel 0, from its WELCOME on,
 * to the source as it really runs: engine and socket channel, over a socketpair. The first byte
 * says how the lease answers. The guest runs on whenever the VM stays, and never after it was given
 * away.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/source.h"
#include "harness.h"
#include "mover/socket_channel.h"

#define PAGES 4u
#define MEMORY_SIZE ((uint64_t)PAGES * ENGINE_PAGE_SIZE)

enum { LEASE_IS_TAKEN = 1, GUEST_WRITES = 2 };

struct world {
    uint8_t choices;
    bool running;
    bool given_away;
    unsigned collections;
    uint64_t now_ns;
};

static int start_tracking(void *guest, struct error *err)
{
    (void)guest, (void)err;
    return 0;
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    (void)guest, (void)err;
    page_set_add(pages, (struct page_run){.first = 0, .count = PAGES});
    return 0;
}

static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    struct world *world = guest;
    (void)skip, (void)dropped, (void)err;
    if (world->choices & GUEST_WRITES && world->collections++ < 8 && within.first == 0) {
        page_set_add(dirty, (struct page_run){.first = 0, .count = 1});
    }
    return 0;
}

static void stop_tracking(void *guest)
{
    (void)guest;
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct world *world = guest;
    int result = emit(context, "early", 5, err);
    world->running = false;
    return result;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    (void)guest;
    return emit(context, "late", 4, err);
}

static int resume(void *guest, struct error *err)
{
    struct world *world = guest;
    (void)err;
    if (world->given_away) {
        abort();
    }
    world->running = true;
    return 0;
}

static enum engine_verdict commit(void *ownership, uint64_t ready_age_ns)
{
    struct world *world = ownership;
    (void)ready_age_ns;
    if (world->running || world->given_away) {
        abort();
    }
    world->given_away = !(world->choices & LEASE_IS_TAKEN);
    return world->given_away ? ENGINE_OWNER_DESTINATION : ENGINE_OWNER_SOURCE;
}

/* Its own time: nobody waits. */
static uint64_t now_ns(void *clock)
{
    struct world *world = clock;
    return world->now_ns += NANOSECONDS_PER_MILLISECOND / 10;
}

static void sleep_ns(void *clock, uint64_t duration_ns)
{
    ((struct world *)clock)->now_ns += duration_ns;
}

static void progress(void *observer, const struct engine_progress *progress)
{
    (void)observer, (void)progress;
}

static bool is_cancelled(void *observer)
{
    (void)observer;
    return false;
}

/* All answers are there from the beginning: the source gets them when it waits for one, and not
 * when it only looks whether there is any. */
static int wait_readable(void *channel, uint64_t timeout_ns, struct error *err)
{
    return timeout_ns == 0 ? 0 : socket_channel_wait_readable(channel, timeout_ns, err);
}

static void make_memory(struct engine_source_guest *guest)
{
    guest->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (guest->memory_fd < 0 || ftruncate(guest->memory_fd, MEMORY_SIZE) < 0) {
        abort();
    }
    uint8_t *memory =
        mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory_fd, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    memset(memory, 0x5a, MEMORY_SIZE - ENGINE_PAGE_SIZE);
    guest->memory = memory;
}

static void check(const struct world *world, enum engine_outcome outcome, const struct error *err)
{
    bool moved = outcome == ENGINE_OUTCOME_MOVED;
    if (outcome == ENGINE_OUTCOME_STRANDED || moved != world->given_away ||
        world->running == moved || (!moved && !err->message[0])) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct engine_source_guest_operations operations = {
        .start_tracking = start_tracking,
        .collect_populated = collect_populated,
        .collect_dirty = collect_dirty,
        .stop_tracking = stop_tracking,
        .stop = stop,
        .finish_state = finish_state,
        .resume = resume,
    };
    static struct engine_source_guest guest = {.operations = &operations,
                                               .memory_size = MEMORY_SIZE};
    static const struct engine_source_options options = {
        .token = "secret",
        .move_id = "00000000-0000-4000-8000-000000000001",
        .blackout_target_ns = 50 * NANOSECONDS_PER_MILLISECOND,
        .timeout_ns = 60 * NANOSECONDS_PER_SECOND,
        .channels = 1,
        .device_state_ns = 10 * NANOSECONDS_PER_MILLISECOND};
    if (length == 0) {
        return 0;
    }
    if (!guest.memory) {
        make_memory(&guest);
    }
    struct world world = {.choices = bytes[0], .running = true};
    struct engine_clock clock = {now_ns, sleep_ns, &world};
    struct engine_ownership ownership = {.commit = commit, .ownership = &world};
    struct engine_observer observer = {progress, is_cancelled, NULL};
    struct engine_statistics statistics;
    struct socket_channel channel;
    struct error err = ERROR_NONE;
    int peer;
    guest.guest = &world;
    socket_channel_init(&channel, harness_connect(bytes + 1, length - 1, &peer), NULL);
    struct engine_channel_operations operations_of_channel = *channel.channel.operations;
    operations_of_channel.wait_readable = wait_readable;
    channel.channel.operations = &operations_of_channel;
    enum engine_outcome outcome = engine_source_run(
        &options, &guest, &channel.channel, NULL, &clock, &ownership, &observer, &statistics, &err);
    check(&world, outcome, &err);
    socket_channel_done(&channel);
    close(peer);
    return 0;
}
