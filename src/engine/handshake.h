/*
 * The first words on every connection of a move: HELLO and WELCOME. The versions come first, and
 * are understood whatever follows them.
 */
#pragma once

#include "engine/stream.h"

/* What both sides must agree on. */
struct handshake_terms {
    const uint8_t *token; /* ENGINE_TOKEN_SIZE bytes: the secret of the move */
    const char *move_id;
    uint64_t memory_size;
};

/* Source: says HELLO for connection `channel` of at most `channel_count`. */
int handshake_send_hello(struct stream *stream, const struct handshake_terms *terms,
                         unsigned channel, unsigned channel_count, struct error *err);

/* Source: checks a WELCOME. Gives how many connections the destination takes. */
int handshake_check_welcome(const struct handshake_terms *terms, const uint8_t *body,
                            uint32_t length, unsigned *ret_channels_most, struct error *err);

/* Destination: checks a HELLO. Gives the connection's number and how many there shall be at most.
 */
int handshake_check_hello(const struct handshake_terms *terms, const uint8_t *body, uint32_t length,
                          unsigned *ret_channel, unsigned *ret_channel_count, struct error *err);

/* Destination: answers it. */
int handshake_send_welcome(struct stream *stream, const struct handshake_terms *terms,
                           unsigned channels_most, struct error *err);

/* Both, for a further connection, where nothing else goes on: waits for the greeting no longer than
 * timeout_ns. `body` has WIRE_GREETING_MOST bytes. */
int handshake_await(struct stream *stream, enum wire_type type, uint64_t timeout_ns, uint8_t *body,
                    uint32_t *ret_length, struct error *err);
