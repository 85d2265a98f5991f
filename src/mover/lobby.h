/*
 * Connections that have not shown yet that they may come in. Without encryption the one that says
 * something first is let in; with it, the one that completes its handshake, which nobody can who
 * does not have the move's key.
 *
 * The port is open to a network, so all of it is bounded: the seats, how long anybody keeps one,
 * and what is logged. Handshakes go on side by side: none waits for another's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secure_stream.h"

#define LOBBY_SEATS 16
#define LOBBY_LISTENERS_MOST 16
#define LOBBY_PATIENCE_NS (5ull * 1000 * 1000 * 1000) /* to speak, or to complete a handshake */

struct lobby_seat {
    int fd;                       /* owned */
    struct secure_stream *secure; /* owned; NULL without encryption */
    uint64_t taken_ns;            /* since when */
};

struct lobby {
    const int *listeners; /* borrowed */
    size_t listener_count;
    struct secure_context *context;       /* borrowed; NULL: no encryption */
    struct lobby_seat seats[LOBBY_SEATS]; /* oldest first */
    size_t taken;
    unsigned turned_away; /* so far, for the log */
};

/* Up to LOBBY_LISTENERS_MOST listening sockets, borrowed as are their list and the context. */
void lobby_init(struct lobby *lobby, const int *listeners, size_t listener_count,
                struct secure_context *context);
void lobby_done(struct lobby *lobby);

/* A connection that may come in, with its established stream (NULL without encryption): both are
 * the caller's then. -EAGAIN when there was none within timeout_ns. When all seats are taken, the
 * oldest gives way, who has not shown anything of the key first. */
int lobby_wait(struct lobby *lobby, uint64_t timeout_ns, struct secure_stream **ret_secure,
               struct error *err);

/* Counts one whom the caller has sent away, and logs it, but not each of many: who floods the port
 * must not fill the disk. */
void lobby_turned_away(struct lobby *lobby, const char *reason);

#define CLEANUP_LOBBY __attribute__((cleanup(lobby_done)))
