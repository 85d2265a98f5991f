/*
 * The engine's channel over a connected TCP socket.
 *
 * The socket is non-blocking and every wait a poll, so that a dead peer costs a time limit and a
 * cancelled move does not wait for it. Socket buffers are left to the kernel's tuning, which goes
 * beyond what SO_SNDBUF may ask for without privilege.
 */
#pragma once

#include <stdatomic.h>

#include "engine/channel.h"

struct socket_channel {
    int fd;                          /* owned */
    int wakeup_bytes;                /* SO_RCVLOWAT as it is set */
    atomic_uint_fast64_t bytes_sent; /* given to the kernel: for who looks from another thread */
    uint64_t stall_limit_ns;         /* no byte moved for so long: the peer is gone */
    const atomic_bool *cancelled;    /* borrowed; NULL: a move that no longer can be cancelled */
    struct engine_channel channel;   /* what the engine is given */
};

#define SOCKET_CHANNEL_STALL_NS (30ull * 1000 * 1000 * 1000)

/* Takes over a connected socket. */
void socket_channel_init(struct socket_channel *socket, int fd, const atomic_bool *cancelled);
void socket_channel_done(struct socket_channel *socket);

#define CLEANUP_CHANNEL __attribute__((cleanup(socket_channel_done)))
