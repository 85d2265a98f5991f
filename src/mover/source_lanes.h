/*
 * The further connections of a move at the source: a thread each, which sends batches out of one
 * queue as fast as its connection takes them. So a faster network carries more, and none waits for
 * another. See engine/lanes.h for what the engine asks of them.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/lanes.h"
#include "mover/lane_count.h"
#include "mover/processor_idle.h"
#include "mover/secure_channel.h"
#include "mover/setup.h"

#define SOURCE_LANES_MOST (MOVER_CHANNELS_MOST - 1)
#define SOURCE_LANES_CONNECT_NS 2000000000ull /* for a connection to be made */
#define SOURCE_LANES_QUEUE 8u /* batches that wait for a lane: enough that none runs dry */

enum source_lane_state {
    SOURCE_LANE_CONNECTING,
    SOURCE_LANE_READY,
    SOURCE_LANE_GONE, /* never came to be, or has failed */
};

struct source_lanes;

struct source_lane {
    struct source_lanes *lanes;
    unsigned number; /* from 1: the channel's */
    enum source_lane_state state;
    pthread_t thread;
    struct socket_channel channel;
    struct stream stream;
    struct lane_sender sender;
    bool in_round;                   /* has carried a part of this round, and has not ended it */
    atomic_uint_fast64_t pages_done; /* since the last settlement */
};

struct source_lanes {
    const struct mover_setup *setup;
    struct secure_context *context;          /* NULL: no encryption */
    const atomic_bool *cancelled, *in_hurry; /* see socket_channel.h */
    const struct lane_terms *terms;

    pthread_mutex_t lock;   /* of all below */
    pthread_cond_t work;    /* for the lanes: something to send, a round to end, the end */
    pthread_cond_t changed; /* for the engine: room, a round's end, a lane's state */
    struct source_lane lane[SOURCE_LANES_MOST];
    unsigned lane_count;
    struct page_batch queue[SOURCE_LANES_QUEUE]; /* a ring */
    unsigned queue_first, queue_length;
    uint32_t ending;      /* the round that is to be ended; 0: none */
    unsigned ended_lanes; /* lanes that have ended it */
    bool closing;
    bool failed;
    struct error failure;
    struct lane_count count;
    struct processor_idle idle;
    struct engine_lanes engine; /* what the engine is given */
};

/* How many connections a move may have, from the options and this host: for the engine's options.
 */
unsigned source_lanes_channels(const struct mover_setup *setup);

/* All is borrowed. `context` (NULL: no encryption) forgets its key once every connection has come
 * or failed. NULL when there is no memory. */
struct source_lanes *source_lanes_new(const struct mover_setup *setup,
                                      struct secure_context *context, const atomic_bool *cancelled,
                                      const atomic_bool *in_hurry);
/* Hangs up, whatever is on its way. NULL is fine. */
void source_lanes_free(struct source_lanes *lanes);

static inline void source_lanes_cleanup(struct source_lanes **lanes)
{
    source_lanes_free(*lanes);
}
#define CLEANUP_LANES __attribute__((cleanup(source_lanes_cleanup)))
