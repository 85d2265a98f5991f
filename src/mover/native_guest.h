/*
 * The machine that leaves by QEMU's own migration, as the engine sees it: no page is the engine's
 * to send, all of memory is in QEMU's stream, which stop() relays while the guest runs.
 *
 * For a kernel or a machine that Drover's engine cannot track. It costs what QEMU's migration
 * costs: one thread that reads every page, holes included, on both sides. Handshake, commit and
 * every way back are the engine's own.
 */
#pragma once

#include "engine/statistics.h"
#include "mover/source_stream.h"

struct native_guest {
    struct source_stream stream;
    const struct engine_source_options *options; /* the setup's */
    uint64_t leftover_ms;          /* QEMU stops the guest when the rest takes no longer */
    struct qemu_transfer transfer; /* as QEMU last told */
    bool asked;                    /* and has not answered */
    uint64_t asked_ns;
    uint64_t looked_ns;               /* when the engine last looked around */
    bool hurried;                     /* the time limit is over: QEMU was told to stop the guest */
    struct engine_source_guest guest; /* what the engine is given */
};

/* As source_guest_init(); `setup` is borrowed until done. */
int native_guest_init(struct native_guest *native, const struct mover_setup *setup,
                      struct error *err);
void native_guest_done(struct native_guest *native);

/* After the move: puts QEMU's figures where the engine's would be. All of QEMU's rounds are one. */
void native_guest_complete(struct native_guest *native, struct engine_statistics *statistics);
