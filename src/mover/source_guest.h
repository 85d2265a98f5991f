/*
 * The machine that leaves, as the engine sees it: pages by the tracker, device state by QEMU.
 */
#pragma once

#include "engine/tracker.h"
#include "mover/source_stream.h"

struct source_guest {
    struct source_stream stream;
    struct engine_tracker tracker;
    bool hurried;                     /* QEMU was told to stop the guest at last */
    uint8_t *memory;                  /* mapping of the RAM file; owned */
    struct engine_source_guest guest; /* what the engine is given */
};

/* Prepares QEMU and the tracker. The setup's QMP descriptor is taken over, the others are borrowed.
 * On failure nothing is left to release, and the guest is as it was. */
int source_guest_init(struct source_guest *source, const struct mover_setup *setup,
                      struct error *err);
void source_guest_done(struct source_guest *source);
