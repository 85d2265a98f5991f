/* The machine that arrives: see destination_guest.h. */
#include "mover/destination_guest.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "vmm/qemu/migration.h"

#define LOAD_LIMIT_NS (30 * NANOSECONDS_PER_SECOND)
#define SLICE_NS (50 * NANOSECONDS_PER_MILLISECOND) /* of waiting: how soon a cancel is seen */

/* QEMU's monitor hangs up when it ends, however it does. */
static int check(void *guest, struct error *err)
{
    const struct destination_guest *destination = guest;
    struct pollfd poller = {.fd = destination->qmp.fd};
    return poll(&poller, 1, 0) > 0 ? error_set(err, ESRCH, "the new QEMU process has ended") : 0;
}

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    struct destination_guest *destination = guest;
    return state_pipe_write(&destination->pipe, bytes, length, err);
}

static int finish_load(void *guest, struct error *err)
{
    struct destination_guest *destination = guest;
    destination->marks.state_ns = clock_monotonic_ns();
    close_fd(&destination->pipe.writer);
    uint64_t deadline = destination->marks.state_ns + LOAD_LIMIT_NS;
    int result = 0;
    while (result == 0) {
        if (atomic_load(destination->cancelled)) {
            return error_set(err, ECANCELED, "the move was cancelled");
        }
        if (clock_monotonic_ns() > deadline) {
            return error_set(err, ETIMEDOUT, "QEMU takes too long to load the device state");
        }
        result = qemu_incoming_await(&destination->qmp, SLICE_NS, err);
    }
    destination->marks.loaded_ns = clock_monotonic_ns();
    return result < 0 ? result : qemu_run_prepare(&destination->qmp, err);
}

/* The carrier rises while QEMU takes the disks: the kernel's network lock, which it needs, can be
 * held for long by others. */
static int run(void *guest, struct error *err)
{
    struct destination_guest *destination = guest;
    destination->marks.run_ns = clock_monotonic_ns();
    int result = qemu_run_begin(&destination->qmp, err);
    if (result < 0) {
        return result;
    }
    taps_set_carrier(&destination->taps, true);
    destination->marks.carrier_ns = clock_monotonic_ns();
    result = qemu_run_await(&destination->qmp, err);
    destination->marks.running_ns = clock_monotonic_ns();
    if (result == 0) {
        taps_announce(&destination->taps);
    }
    return result;
}

static int map_memory(struct destination_guest *destination, const struct mover_setup *setup,
                      struct error *err)
{
    void *memory =
        mmap(NULL, setup->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, setup->memory_fd, 0);
    if (memory == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map the guest's memory");
    }
    destination->memory = memory;
    return 0;
}

static int prepare(struct destination_guest *destination, const struct mover_setup *setup,
                   struct error *err)
{
    int result = qmp_adopt(&destination->qmp, setup->qmp_fd, err);
    if (result == 0) {
        result = map_memory(destination, setup, err);
    }
    if (result == 0) {
        result = state_pipe_open(&destination->pipe, err);
    }
    if (result == 0) {
        result = qemu_incoming_begin(&destination->qmp, destination->pipe.reader,
                                     setup->engine == MOVER_ENGINE_NATIVE, err);
        close_fd(&destination->pipe.reader); /* QEMU has its own */
    }
    return result;
}

int destination_guest_init(struct destination_guest *destination, const struct mover_setup *setup,
                           const atomic_bool *cancelled, struct error *err)
{
    static const struct engine_destination_guest_operations operations = {
        .check = check, .load_state = load_state, .finish_load = finish_load, .run = run};
    *destination = (struct destination_guest){.qmp = {.fd = -1},
                                              .pipe = STATE_PIPE_CLOSED,
                                              .taps = {setup->nics, setup->nic_count},
                                              .cancelled = cancelled,
                                              .guest = {.operations = &operations,
                                                        .guest = destination,
                                                        .memory_size = setup->memory_size,
                                                        .memory_fd = setup->memory_fd}};
    int result = prepare(destination, setup, err);
    if (result < 0) {
        destination_guest_done(destination);
        return result;
    }
    destination->guest.memory = destination->memory;
    return 0;
}

void destination_guest_done(struct destination_guest *destination)
{
    if (destination->memory) {
        munmap(destination->memory, destination->guest.memory_size);
    }
    state_pipe_close(&destination->pipe);
    qmp_done(&destination->qmp);
}

static double milliseconds(uint64_t from, uint64_t to)
{
    return to > from ? (double)(to - from) / (double)NANOSECONDS_PER_MILLISECOND : 0;
}

void destination_guest_log_marks(const struct destination_guest *destination)
{
    const struct destination_guest_marks *marks = &destination->marks;
    if (marks->running_ns > 0) {
        log_info(
            "device state loaded %.2f ms after its end came, committed in %.2f ms, ran %.2f ms "
            "after (carrier after %.2f ms)",
            milliseconds(marks->state_ns, marks->loaded_ns),
            milliseconds(marks->loaded_ns, marks->run_ns),
            milliseconds(marks->run_ns, marks->running_ns),
            milliseconds(marks->run_ns, marks->carrier_ns));
    }
}
