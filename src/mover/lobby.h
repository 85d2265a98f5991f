/* Connections that have not said anything yet: the one that speaks first is let in. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define LOBBY_SEATS 16
#define LOBBY_LISTENERS_MOST 16

struct lobby {
    const int *listeners; /* borrowed */
    size_t listener_count;
    int seats[LOBBY_SEATS]; /* owned; oldest first */
    size_t taken;
};

/* Up to LOBBY_LISTENERS_MOST listening sockets, borrowed as is their list. */
void lobby_init(struct lobby *lobby, const int *listeners, size_t listener_count);
void lobby_done(struct lobby *lobby);

/* A connection that something was received from, given to the caller; -EAGAIN when none spoke
 * within timeout_ns. When all seats are taken, the one that has been silent longest is hung up on.
 */
int lobby_wait(struct lobby *lobby, uint64_t timeout_ns, struct error *err);

#define CLEANUP_LOBBY __attribute__((cleanup(lobby_done)))
