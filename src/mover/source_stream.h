/*
 * QEMU's own stream out of the machine that leaves, on its way to the engine: device state, and for
 * a native move the memory too.
 *
 * States: RUNNING -> STREAMING (QEMU sends what it can while the guest runs) -> SAVING (no vCPU
 * runs) -> SAVED; from any, source_stream_resume() leads back to RUNNING.
 */
#pragma once

#include "engine/guest.h"
#include "mover/setup.h"
#include "mover/state_pipe.h"
#include "mover/taps.h"
#include "vmm/qemu/migration.h"

enum source_stream_state {
    SOURCE_STREAM_RUNNING,
    SOURCE_STREAM_STREAMING,
    SOURCE_STREAM_SAVING,
    SOURCE_STREAM_SAVED,
};

/* When what happened, CLOCK_MONOTONIC: where the blackout's time goes. */
struct source_stream_marks {
    uint64_t begun_ns;   /* QEMU told to begin its stream */
    uint64_t stopped_ns; /* vCPUs stopped, by QEMU's own stamp */
    uint64_t paused_ns;  /* the guest's I/O has ended; QEMU is told to save */
    uint64_t looked_ns;  /* the last pages are on their way */
    uint64_t saved_ns;   /* device state complete */
};

struct source_stream {
    enum source_stream_state state;
    struct qmp qmp;
    struct state_pipe pipe;
    struct taps taps;
    uint8_t *buffer; /* owned; what is on its way */
    struct source_stream_marks marks;
};

/* Where the stream goes. */
struct source_stream_emitter {
    engine_emit_function *emit;
    void *context;
};

/* Who steers it while the guest runs. */
struct source_stream_pilot {
    /* Called often; negative ends the streaming. */
    int (*steer)(void *pilot, const struct source_stream_emitter *emitter, struct error *err);
    /* An event of QEMU's, or its answer to a command that did not wait. NULL: not wanted. */
    void (*hear)(void *pilot, const json_t *event);
    void *pilot;
};

/* Prepares QEMU. The setup's QMP descriptor is taken over, its NICs are borrowed. On failure
 * nothing is left to release, and the guest is as it was. */
int source_stream_init(struct source_stream *stream, const struct mover_setup *setup,
                       const struct qemu_outgoing *outgoing, struct error *err);
void source_stream_done(struct source_stream *stream);

/* The engine's stop(), finish_state() and resume(): see engine/guest.h. */
int source_stream_stop(struct source_stream *stream, const struct source_stream_pilot *pilot,
                       const struct source_stream_emitter *emitter, struct error *err);
int source_stream_finish(struct source_stream *stream, const struct source_stream_emitter *emitter,
                         struct error *err);
int source_stream_resume(struct source_stream *stream, struct error *err);

/* Logs where the blackout's time went, as seen from here. */
void source_stream_log_marks(const struct source_stream *stream);
