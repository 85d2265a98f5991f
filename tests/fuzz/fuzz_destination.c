/*
 * libFuzzer's entry: bytes as all that a source says over channel 0, from its HELLO on, to the
 * destination as it really runs: engine and socket channel, over a socketpair. The first byte says
 * how the lease answers and whether loading fails. The guest runs at most once, and never when the
 * lease says that it is the source's.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/destination.h"
#include "harness.h"
#include "mover/socket_channel.h"

#define PAGES 160u /* more than one packed chunk */
#define MEMORY_SIZE ((uint64_t)PAGES * ENGINE_PAGE_SIZE)

enum { LEASE_IS_OURS = 1, LOADING_FAILS = 2, STATE_IS_REFUSED = 4 };

struct world {
    uint8_t choices;
    unsigned runs;
    bool lost; /* the lease said that the source has the VM */
};

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    const struct world *world = guest;
    (void)bytes, (void)length;
    return world->choices & STATE_IS_REFUSED ? error_set(err, EIO, "state is refused") : 0;
}

static int finish_load(void *guest, struct error *err)
{
    const struct world *world = guest;
    return world->choices & LOADING_FAILS ? error_set(err, EIO, "loading fails") : 0;
}

static int run_guest(void *guest, struct error *err)
{
    struct world *world = guest;
    (void)err;
    world->runs++;
    return 0;
}

static enum engine_verdict settle(void *ownership)
{
    struct world *world = ownership;
    world->lost = !(world->choices & LEASE_IS_OURS);
    return world->lost ? ENGINE_OWNER_SOURCE : ENGINE_OWNER_DESTINATION;
}

static uint64_t now_ns(void *clock)
{
    (void)clock;
    return clock_monotonic_ns();
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

static void make_memory(struct engine_destination_guest *guest)
{
    guest->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (guest->memory_fd < 0 || ftruncate(guest->memory_fd, MEMORY_SIZE) < 0) {
        abort();
    }
    guest->memory =
        mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory_fd, 0);
    if (guest->memory == MAP_FAILED) {
        abort();
    }
}

static void check(const struct world *world, enum engine_outcome outcome, const struct error *err)
{
    bool moved = outcome == ENGINE_OUTCOME_MOVED;
    if (world->runs != (moved ? 1u : 0u) || (moved && world->lost) ||
        (!moved && !err->message[0])) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct engine_destination_guest_operations operations = {
        .load_state = load_state, .finish_load = finish_load, .run = run_guest};
    static struct engine_destination_guest guest = {.operations = &operations,
                                                    .memory_size = MEMORY_SIZE};
    static const struct engine_destination_options options = {
        .token = "secret",
        .move_id = "00000000-0000-4000-8000-000000000001",
        .channels_most = 1,
        .silence_limit_ns = 5 * NANOSECONDS_PER_SECOND};
    if (length == 0) {
        return 0;
    }
    if (!guest.memory) {
        make_memory(&guest);
    }
    struct world world = {.choices = bytes[0]};
    struct engine_clock clock = {.now_ns = now_ns};
    struct engine_ownership ownership = {.settle = settle, .ownership = &world};
    struct engine_observer observer = {progress, is_cancelled, NULL};
    struct engine_destination_statistics statistics;
    struct socket_channel channel;
    struct error err = ERROR_NONE;
    int peer;
    guest.guest = &world;
    socket_channel_init(&channel, harness_connect(bytes + 1, length - 1, &peer), NULL);
    enum engine_outcome outcome = engine_destination_run(
        &options, &guest, &channel.channel, NULL, &clock, &ownership, &observer, &statistics, &err);
    check(&world, outcome, &err);
    socket_channel_done(&channel);
    close(peer);
    return 0;
}
