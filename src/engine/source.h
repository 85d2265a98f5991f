/*
 * The source side of a move: rounds, the decision, the switchover.
 *
 * States (one transition function, asserted): CONNECT -> PRECOPY -> STOPPING -> LAST_PASS -> SAVING
 * -> AWAIT_READY -> COMMITTING -> AWAIT_RUNNING -> DONE; from any up to AWAIT_READY -> ABORTED
 * (guest resumed, running here); from COMMITTING either way, by verdict only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/channel.h"
#include "engine/guest.h"
#include "engine/lanes.h"
#include "engine/world.h"

/* The secret of one move, by which its two sides know each other. */
#define ENGINE_TOKEN_SIZE 32

/* What happens at the time limit of a move that has not switched over by then. */
enum engine_on_timeout {
    ENGINE_ON_TIMEOUT_ABORT, /* given up; the guest runs on at the source */
    ENGINE_ON_TIMEOUT_STOP,  /* switched over all the same, with a blackout beyond its target */
};

struct engine_source_options {
    uint8_t token[ENGINE_TOKEN_SIZE];
    char move_id[37];            /* UUID, for logs and for the handshake */
    uint64_t blackout_target_ns; /* switch over when the prediction is at or below it */
    uint64_t timeout_ns;         /* not switched over by then: on_timeout; 0: never */
    enum engine_on_timeout on_timeout;
    bool pace;                /* make writers wait when the link cannot keep up with them */
    bool compress;            /* where it pays */
    unsigned channels;        /* connections at most; 0: as many as pay */
    uint64_t bandwidth_limit; /* bytes a second; 0: none */
    uint64_t device_state_ns; /* what saving and loading device state is expected to take */
};

/* How a move ended, for whoever must act on it. */
enum engine_outcome {
    ENGINE_OUTCOME_MOVED,   /* runs at the destination (owner: destination) */
    ENGINE_OUTCOME_STAYED,  /* runs at the source, untouched (owner: source); err says why */
    ENGINE_OUTCOME_STRANDED /* owner: source, but its guest could not be resumed; err says why */
};

/*
 * Runs a move to its end; `lanes` NULL: over `channel` alone. Always returns with a decided owner.
 * `ret_statistics` is filled in every case; `err`, which must not be NULL, says why a move STAYED,
 * and is filled after MOVED too when the destination's word that it runs is missing. When err->code
 * is ECANCELED the operator gave up. A guest that STAYED runs as before, with no tracking.
 */
enum engine_outcome
engine_source_run(const struct engine_source_options *options,
                  const struct engine_source_guest *guest, const struct engine_channel *channel,
                  const struct engine_lanes *lanes, const struct engine_clock *clock,
                  const struct engine_ownership *ownership, const struct engine_observer *observer,
                  struct engine_statistics *ret_statistics, struct error *err);
