/*
 * The client's half of WebSocket (RFC 6455), as much of it as a console takes: binary and text
 * messages as one stream of bytes, ping answered, close understood. Bytes in, bytes out; the
 * connection is the caller's. Written here because libcurl 7.88 has WebSocket only as an experiment
 * that distributions leave out, and libwebsockets as a client would bring a second way to connect,
 * to authorise and to wait beside libcurl's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* What a peer may send in one frame: a console has no bigger ones. */
#define WEBSOCKET_FRAME_MOST (1u << 20)

#define WEBSOCKET_KEY_SIZE 25

/* A fresh Sec-WebSocket-Key, and the request that upgrades a connection; token may be NULL. 0 or
 * -ENOMEM. */
void websocket_make_key(char key[WEBSOCKET_KEY_SIZE]);
int websocket_request(const char *host, const char *path, const char *token, const char *key,
                      struct buffer *output);

/* Reads the server's answer at the start of input. 1: upgraded, the answer was taken off; 0: more
 * is needed; -EPROTO: it is no WebSocket; *ret_status is the HTTP status when the server refused
 * (-EBADMSG; its body is left in input). */
int websocket_accept(struct buffer *input, const char *key, int *ret_status, struct error *err);

/* Appends a masked binary frame, or a close frame, to output. 0 or -ENOMEM. */
int websocket_send(struct buffer *output, const void *bytes, size_t length);
int websocket_send_close(struct buffer *output);

/* Takes whole frames off input: payload is appended to ret_payload, answers (pong) to output.
 * *ret_closed says that the server closed. -EPROTO for what no server may send. */
int websocket_receive(struct buffer *input, struct buffer *ret_payload, struct buffer *output,
                      bool *ret_closed, struct error *err);
