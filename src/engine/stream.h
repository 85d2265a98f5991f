/*
 * Frames over a channel: what both sides of a move share. Counts what passes, checks what comes in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/channel.h"
#include "wire/frame.h"

struct stream {
    const struct engine_channel *channel;
    const char *peer;    /* "source" or "destination", for errors */
    bool cut_off;        /* a frame was sent in part only: nothing may follow it */
    uint64_t bytes_sent; /* on the wire, headers included */
    uint64_t bytes_received;
};

/* Sends a whole frame. */
int stream_send(struct stream *stream, enum wire_type type, const void *body, size_t length,
                struct error *err);

/* Sends raw pieces, and a part of a file: of a frame whose header was encoded by the caller. */
int stream_send_pieces(struct stream *stream, const struct iovec *pieces, int count, bool more,
                       struct error *err);
int stream_send_file(struct stream *stream, int fd, uint64_t offset, uint64_t length, bool more,
                     struct error *err);

/* Waits until a frame begins: 1, or 0 after timeout_ns. */
int stream_wait(struct stream *stream, uint64_t timeout_ns, struct error *err);

/* Receives a header, checked (type, flags, length). */
int stream_receive_header(struct stream *stream, struct wire_header *ret_header, struct error *err);

/* Receives exactly `length` bytes, or pieces, of a body. */
int stream_receive(struct stream *stream, void *bytes, size_t length, struct error *err);
int stream_receive_pieces(struct stream *stream, const struct iovec *pieces, int count,
                          struct error *err);

/* Tells the other side that we give up, and why, in the words of `reason`. After a send that failed
 * it says nothing, at once: the end of the connection is word enough. */
int stream_send_abort(struct stream *stream, const struct error *reason, struct error *err);

/* Receives the body of an ABORT and makes it the error. Always negative. */
int stream_receive_abort(struct stream *stream, uint32_t length, struct error *err);

/* When `err` says that the channel was lost: puts the other side's own reason there instead, where
 * its ABORT had arrived before. */
void stream_last_words(struct stream *stream, struct error *err);

/* The error for a frame that has no place here. Always negative. */
int stream_unexpected(const struct stream *stream, unsigned type, const char *state,
                      struct error *err);
