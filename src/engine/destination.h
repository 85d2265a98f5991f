/*
 * The destination side of a move: takes pages and device state, says that it is ready, runs when
 * told.
 *
 * States: CONNECT -> RECEIVING -> LOADING -> READY -> RUNNING; from any before READY -> ABANDONED;
 * in READY a lost channel is settled by ownership alone. Everything received is checked before it
 * is used: lengths, ranges, order.
 */
#pragma once

#include <stdint.h>

#include "engine/arrivals.h"
#include "engine/channel.h"
#include "engine/guest.h"
#include "engine/source.h"
#include "engine/world.h"

struct engine_destination_options {
    uint8_t token[ENGINE_TOKEN_SIZE];
    char move_id[37];
    unsigned channels_most;    /* connections that this side takes for one move */
    uint64_t silence_limit_ns; /* the source says something at least this often, or it is gone */
};

struct engine_destination_statistics {
    uint64_t bytes_received;
    uint64_t pages_received;
    uint64_t load_state_ns; /* finish_load() */
    uint64_t run_ns;        /* run() */
};

/* Runs the destination's part to its end. `arrivals` NULL: takes no connection but `channel`.
 * ENGINE_OUTCOME_MOVED: the guest runs here. STAYED: given up, the source owns it, the shadow VM
 * must be discarded. STRANDED: owned by us, but run() failed. */
enum engine_outcome
engine_destination_run(const struct engine_destination_options *options,
                       const struct engine_destination_guest *guest,
                       const struct engine_channel *channel, const struct engine_arrivals *arrivals,
                       const struct engine_clock *clock, const struct engine_ownership *ownership,
                       const struct engine_observer *observer,
                       struct engine_destination_statistics *ret_statistics, struct error *err);
