/* Connections that have not said anything yet: the one that speaks first is let in. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define LOBBY_SEATS 16

struct lobby {
    int listener;           /* borrowed */
    int seats[LOBBY_SEATS]; /* owned; oldest first */
    size_t taken;
};

void lobby_init(struct lobby *lobby, int listener);
void lobby_done(struct lobby *lobby);

/* A connection that something was received from, given to the caller; -EAGAIN when none spoke
 * within timeout_ns. When all seats are taken, the one that has been silent longest is hung up on.
 */
int lobby_wait(struct lobby *lobby, uint64_t timeout_ns, struct error *err);

#define CLEANUP_LOBBY __attribute__((cleanup(lobby_done)))
