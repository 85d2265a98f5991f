/*
 * The engine's channel over a connected TCP socket: plain, or what secure_channel.h makes of it.
 *
 * The socket is non-blocking and every wait a poll, so that a dead peer costs a time limit and a
 * cancelled move does not wait for it. Socket buffers are left to the kernel's tuning, which goes
 * beyond what SO_SNDBUF may ask for without privilege.
 */
#pragma once

#include <stdatomic.h>

#include "base/secure_stream.h"
#include "engine/channel.h"

struct socket_channel {
    int fd;                          /* owned */
    int wakeup_bytes;                /* SO_RCVLOWAT as it is set */
    atomic_uint_fast64_t bytes_sent; /* of content, given away: for who looks from another thread */
    uint64_t stall_limit_ns;         /* no byte moved for so long: the peer is gone */
    uint64_t hurry_limit_ns;         /* the same while *in_hurry */
    const atomic_bool *in_hurry;     /* borrowed; a guest stands still; NULL: none does */
    uint64_t deadline_ns;            /* waits end then, whatever moves: a stranger; 0: none */
    const atomic_bool *cancelled;    /* borrowed; NULL: a move that no longer can be cancelled */
    struct secure_stream *secure;    /* owned; NULL: bytes travel as they are */
    struct engine_channel channel;   /* what the engine is given */
};

#define SOCKET_CHANNEL_STALL_NS (30ull * 1000 * 1000 * 1000)
#define SOCKET_CHANNEL_HURRY_NS (5ull * 1000 * 1000 * 1000)

/* Takes over a connected socket. */
void socket_channel_init(struct socket_channel *socket, int fd, const atomic_bool *cancelled);
void socket_channel_done(struct socket_channel *socket);

/* ---- for secure_channel.c ---- */

/* Waits until the socket can go on. A cancelled move waits a little: for a last word. */
int socket_channel_await(const struct socket_channel *socket, short events, struct error *err);

/* A wait ends when so many bytes are there, not at every segment: fewer, larger reads. No more than
 * are certain to come, or it would not end. */
void socket_channel_set_wakeup(struct socket_channel *socket, size_t bytes);

/* Bytes of all pieces. */
size_t socket_channel_length(const struct iovec *pieces, int count);

/* The operations of that name. */
int socket_channel_wait_readable(void *channel, uint64_t timeout_ns, struct error *err);
uint64_t socket_channel_queued(void *channel);

#define CLEANUP_CHANNEL __attribute__((cleanup(socket_channel_done)))
