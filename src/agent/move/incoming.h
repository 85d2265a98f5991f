/*
 * The destination's side of a move, shared by its files: migrate_destination.c begins one,
 * incoming_end.c follows it to its end.
 */
#pragma once

#include "agent/agent.h"
#include "agent/move/populate.h"
#include "agent/vm/record.h"

/* A move that comes in: what its thread works on. */
struct incoming {
    struct agent *agent;
    struct vm vm;
    struct move_record record;
    struct populate *populate; /* owned; NULL: nothing is, or it is over */
    bool resumed;              /* an earlier agent began it */
};

void incoming_end_populating(struct incoming *incoming);

/* Follows the mover to the end of the move in a thread of its own, which takes `incoming` over; not
 * on failure. */
int incoming_follow(struct incoming *incoming, struct error *err);
