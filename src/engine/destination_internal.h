/*
 * The destination side of a move, shared by its files:
 *
 *   destination.c        states, handshake, loading, readiness, doubt
 *   lane_receiver.c      what PAGES, PACKED and ZERO do to the guest's memory
 */
#pragma once

#include "engine/destination.h"
#include "engine/lane_receiver.h"
#include "engine/stream.h"

enum destination_state {
    DESTINATION_CONNECT,
    DESTINATION_RECEIVING,
    DESTINATION_LOADING, /* the device state is complete */
    DESTINATION_READY,   /* from before READY is sent: the source may have committed */
    DESTINATION_RUNNING, /* this side owns the VM */
    DESTINATION_ABANDONED,
};

struct destination {
    const struct engine_destination_options *options;
    const struct engine_destination_guest *guest;
    const struct engine_arrivals *arrivals; /* NULL: channel 0 is alone */
    const struct engine_clock *clock;
    const struct engine_ownership *ownership;
    const struct engine_observer *observer;
    struct engine_destination_statistics *statistics;
    struct stream stream;
    enum destination_state state;
    struct engine_progress progress;
    uint64_t progress_told_ns;
    uint64_t started_ns;
    uint32_t round;            /* the last one completed */
    uint64_t state_bytes;      /* device state received */
    struct page_set received;  /* pages that held data at the last ROUND_END; else holes: zeroes */
    struct lane_receiver lane; /* of channel 0 */
    uint8_t *body;             /* WIRE_STATE_MOST bytes: greetings, device state */
};
