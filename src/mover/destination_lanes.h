/*
 * The further connections of a move at the destination: one thread lets them in, and each has one
 * that receives pages into the guest's memory. See engine/arrivals.h for what the engine asks of
 * them. Strangers are hung up on, as on the first connection.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/arrivals.h"
#include "mover/secure_channel.h"
#include "mover/setup.h"

#define DESTINATION_LANES_MOST (MOVER_CHANNELS_MOST - 1)

struct destination_lanes;

struct destination_lane {
    struct destination_lanes *lanes;
    unsigned number; /* the channel's; 0: not there */
    pthread_t thread;
    bool joined;
    struct socket_channel channel;
    struct stream stream;
    struct lane_receiver receiver;
    uint32_t ended;   /* the last round whose end it brought */
    uint32_t settled; /* the last one that was taken from it */
    atomic_uint_fast64_t bytes_received;
};

struct destination_lanes {
    const struct mover_setup *setup;
    struct secure_context *context; /* NULL: no encryption */
    const struct engine_destination_guest *guest;
    const atomic_bool *cancelled;
    const struct page_set *received;

    pthread_mutex_t lock;   /* of all below */
    pthread_cond_t changed; /* a round's end, its settling, a failure, the end */
    pthread_t doorman;      /* lets connections in */
    bool open;              /* the doorman was started */
    struct destination_lane lane[DESTINATION_LANES_MOST];
    unsigned most;  /* that may come */
    unsigned count; /* that came */
    atomic_bool closing;
    bool failed;
    struct error failure;
    struct engine_arrivals engine; /* what the engine is given */
};

/* How many connections this host takes for one move. */
unsigned destination_lanes_channels(void);

/* All is borrowed. `context` (NULL: no encryption) forgets its key once nobody is let in any more.
 * NULL when there is no memory. */
struct destination_lanes *destination_lanes_new(const struct mover_setup *setup,
                                                struct secure_context *context,
                                                const struct engine_destination_guest *guest,
                                                const atomic_bool *cancelled);
/* Hangs up, whatever is on its way. NULL is fine. */
void destination_lanes_free(struct destination_lanes *lanes);
