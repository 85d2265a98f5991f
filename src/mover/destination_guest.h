/*
 * The machine that arrives, as the engine sees it: a shadow VM that waits for its device state.
 */
#pragma once

#include "engine/guest.h"
#include "mover/state_pipe.h"
#include "mover/taps.h"
#include "vmm/qemu/qmp.h"

struct destination_guest {
    struct qmp qmp;
    struct state_pipe pipe;
    struct taps taps;
    uint8_t *memory;                       /* mapping of the RAM file; owned */
    struct engine_destination_guest guest; /* what the engine is given */
};

/* Has the shadow VM wait for its device state. The setup's QMP descriptor is taken over, the others
 * are borrowed. On failure nothing is left to release. */
int destination_guest_init(struct destination_guest *destination, const struct mover_setup *setup,
                           struct error *err);
void destination_guest_done(struct destination_guest *destination);
