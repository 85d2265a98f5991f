/*
 * The machine that leaves, as the engine sees it: pages by the tracker, device state by QEMU.
 *
 * States: RUNNING -> STREAMING (QEMU sends what it can while the guest runs) -> PAUSED (no vCPU
 * runs) -> SAVING -> SAVED; from any, resume() leads back to RUNNING.
 */
#pragma once

#include "engine/guest.h"
#include "engine/tracker.h"
#include "mover/state_pipe.h"
#include "mover/taps.h"
#include "vmm/qemu/qmp.h"

enum source_guest_state {
    SOURCE_GUEST_RUNNING,
    SOURCE_GUEST_STREAMING,
    SOURCE_GUEST_PAUSED,
    SOURCE_GUEST_SAVING,
    SOURCE_GUEST_SAVED,
};

/* When what happened, CLOCK_MONOTONIC: where the blackout's time goes. */
struct source_guest_marks {
    uint64_t begun_ns;     /* QEMU told to begin its stream */
    uint64_t stopped_ns;   /* vCPUs stopped, by QEMU's own stamp */
    uint64_t paused_ns;    /* QEMU waits for the last pages */
    uint64_t continued_ns; /* told to go on */
    uint64_t saved_ns;     /* device state complete */
};

struct source_guest {
    enum source_guest_state state;
    struct qmp qmp;
    struct engine_tracker tracker;
    struct state_pipe pipe;
    struct taps taps;
    uint8_t *buffer; /* owned; device state on its way */
    uint8_t *memory; /* mapping of the RAM file; owned */
    struct source_guest_marks marks;
    struct engine_source_guest guest; /* what the engine is given */
};

/* Prepares QEMU and the tracker. The setup's QMP descriptor is taken over, the others are borrowed.
 * On failure nothing is left to release, and the guest is as it was. */
int source_guest_init(struct source_guest *source, const struct mover_setup *setup,
                      struct error *err);
void source_guest_done(struct source_guest *source);

/* Logs where the blackout's time went, as seen from here. */
void source_guest_log_marks(const struct source_guest *source);
