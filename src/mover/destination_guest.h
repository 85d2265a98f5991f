/*
 * The machine that arrives, as the engine sees it: a shadow VM that waits for its device state.
 */
#pragma once

#include <stdatomic.h>

#include "engine/guest.h"
#include "mover/state_pipe.h"
#include "mover/taps.h"
#include "vmm/qemu/qmp.h"

/* When what happened, CLOCK_MONOTONIC. */
struct destination_guest_marks {
    uint64_t state_ns;   /* the last of the device state was handed to QEMU */
    uint64_t loaded_ns;  /* QEMU has loaded it */
    uint64_t run_ns;     /* QEMU told to run */
    uint64_t carrier_ns; /* taps have carrier */
    uint64_t running_ns; /* vCPUs run */
};

struct destination_guest {
    struct qmp qmp;
    struct state_pipe pipe;
    struct taps taps;
    const atomic_bool *cancelled; /* ends the wait for QEMU */
    struct destination_guest_marks marks;
    uint8_t *memory;                       /* mapping of the RAM file; owned */
    struct engine_destination_guest guest; /* what the engine is given */
};

/* Has the shadow VM wait for its device state. The setup's QMP descriptor is taken over, the others
 * are borrowed. On failure nothing is left to release. */
int destination_guest_init(struct destination_guest *destination, const struct mover_setup *setup,
                           const atomic_bool *cancelled, struct error *err);
void destination_guest_done(struct destination_guest *destination);

/* Logs where this side's part of the blackout went. */
void destination_guest_log_marks(const struct destination_guest *destination);
