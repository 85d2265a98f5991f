/*
 * The engine's channel over TLS: a socket_channel whose bytes go through a secure_stream. All that
 * socket_channel.h says of waiting, time limits and cancelling holds.
 */
#pragma once

#include "mover/socket_channel.h"

/* For the handshake, and in the lobby: a few round trips of the longest way there is. */
#define SECURE_CHANNEL_GREETING_NS (5ull * 1000 * 1000 * 1000)

/* From here on the channel is this stream, which is over its socket and established. Taken over. */
void secure_channel_adopt(struct socket_channel *socket, struct secure_stream *stream);

/* Shakes hands over the channel's socket, and adopts. The channel is closed by its owner, whatever
 * comes out. -EACCES: the other side does not have the key. */
int secure_channel_greet(struct socket_channel *socket, struct secure_context *context,
                         struct error *err);

/* How a channel of this kind, established, or a plain one, is protected: for the report. */
struct secure_channel_facts {
    bool encrypted;
    bool in_kernel;     /* what is sent is encrypted by the kernel */
    const char *cipher; /* the suite's name, static; NULL: none */
};

struct secure_channel_facts secure_channel_facts(const struct socket_channel *socket);
