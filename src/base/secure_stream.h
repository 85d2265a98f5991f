/*
 * TLS 1.3 over a connected socket that does not block, between two ends that were both given one
 * secret of 32 bytes beforehand: an external pre-shared key (RFC 8446, 2.2 and 4.2.11) with an
 * ephemeral (elliptic curve) Diffie-Hellman exchange besides, so that who learns the key later
 * reads nothing of what passed. No certificates, no resumption, no tickets, no early data. The
 * handshake proves to each end that the other has the key; an end without it, or with the key of
 * something else, gets no byte through.
 *
 * Records are AES-128-GCM where both processors have instructions for it, else ChaCha20-Poly1305.
 * Where kernel and OpenSSL can, the kernel encrypts what is sent (kernel TLS).
 *
 * Nothing here waits: what cannot go on returns -EAGAIN, and secure_stream_events() says what to
 * wait for. A stream is one thread's at a time; a context may be shared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define SECURE_KEY_SIZE 32
#define SECURE_IDENTITY_SIZE 64
#define SECURE_RECORD_BYTES ((size_t)16384) /* of content in one record, at most */

enum secure_role { SECURE_CLIENT, SECURE_SERVER };

/* ---- what the connections of one key share ---- */

struct secure_context;

/* `identity` names the key on the wire, in clear; both ends must give the same (shorter than
 * SECURE_IDENTITY_SIZE). The key is copied. */
int secure_context_new(enum secure_role role, const uint8_t key[SECURE_KEY_SIZE],
                       const char *identity, struct secure_context **ret_context,
                       struct error *err);

/* Wipes the key: no handshake may be under way, none succeeds any more. Established streams go on.
 * NULL is fine. */
void secure_context_forget(struct secure_context *context);

/* After the last of its streams. Wipes the key. NULL is fine. */
void secure_context_free(struct secure_context *context);

/* After how many bytes sent a stream changes its keys (KeyUpdate). Otherwise that is far below
 * AES-GCM's limit (RFC 8446, 5.5). */
void secure_context_set_update(struct secure_context *context, uint64_t bytes);

/* ---- a connection ---- */

struct secure_stream;

/* `fd` is borrowed: connected, non-blocking. */
int secure_stream_new(struct secure_context *context, int fd, struct secure_stream **ret_stream,
                      struct error *err);

/* Says goodbye (close_notify) if that can be done at once. NULL is fine. */
void secure_stream_free(struct secure_stream *stream);

/* 0 when it is complete, -EAGAIN when it must wait. -EACCES: the other side does not have this key,
 * or does not speak TLS. */
int secure_stream_handshake(struct secure_stream *stream, struct error *err);

/* During the handshake: the other side has named the key and shown that it, or somebody whom it
 * overheard, has it. */
bool secure_stream_is_promising(const struct secure_stream *stream);

/* What to poll(2) for after -EAGAIN. */
short secure_stream_events(const struct secure_stream *stream);

/* Takes some of the bytes: how many, or -EAGAIN. What does not fill a record waits for more, or for
 * secure_stream_flush(). */
ssize_t secure_stream_write(struct secure_stream *stream, const void *bytes, size_t length,
                            struct error *err);

/* Gives all that was taken to the kernel: 0 or -EAGAIN. */
int secure_stream_flush(struct secure_stream *stream, struct error *err);

/* Sends some bytes of a file, which the kernel encrypts; only with secure_stream_in_kernel(), after
 * secure_stream_flush(). */
ssize_t secure_stream_send_file(struct secure_stream *stream, int fd, off_t offset, size_t length,
                                struct error *err);

/* At least one byte, or -EAGAIN. -ECONNRESET at the stream's end, whether the other side closed it
 * or somebody cut it. */
ssize_t secure_stream_read(struct secure_stream *stream, void *bytes, size_t length,
                           struct error *err);

/* 1 when secure_stream_read() has something, 0 when it must wait. */
int secure_stream_is_readable(struct secure_stream *stream, struct error *err);

/* Once established: whether the kernel encrypts, and the cipher suite's name. */
bool secure_stream_in_kernel(const struct secure_stream *stream);
const char *secure_stream_cipher(const struct secure_stream *stream);
