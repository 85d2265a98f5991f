/*
 * Following a mover to its end over its control socket, on either side: relays progress, answers
 * its question, passes on a wish to give up. Works the same for a mover just started and for one
 * that an earlier agent started.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/agent.h"
#include "agent/record.h"

enum move_end {
    MOVE_END_MOVED,
    MOVE_END_STAYED,
    MOVE_END_STRANDED,
    MOVE_END_GONE, /* the mover died or hung without a result: the owner file decides */
};

struct move_watcher {
    void (*progress)(void *context, const json_t *event); /* may be NULL */
    bool (*cancelled)(void *context);
    void *context;
};

/* Returns when there is a result, or none to come. The mover stays until move_dismiss(), so that a
 * result is never lost: act on it first. On success of none but MOVED, err says why.
 * *ret_statistics is a new reference, or NULL. */
enum move_end move_follow(struct agent *agent, const struct vm *vm, const struct move_record *move,
                          const struct move_watcher *watcher, json_t **ret_statistics,
                          struct error *err);

/* Tells the mover of a VM that has come here that its result was taken, and forgets the move's
 * record. The mover goes on announcing the VM to the network for a moment, and ends by itself. */
void move_let_go(struct agent *agent, const struct vm *vm, const struct move_record *move);

/* Ends the mover, whatever it does, and forgets the move's record. */
void move_dismiss(struct agent *agent, const struct vm *vm, const struct move_record *move);

/* Settles who owns the VM after `move`, from the side that this host is on: the source commits, the
 * destination withdraws; whoever was first, decided. True: the destination. -EAGAIN: the datastore
 * does not tell. */
int move_decide(struct agent *agent, const struct vm *vm, const struct move_record *move,
                bool *ret_destination, struct error *err);

/* Reads the owner until the datastore answers, however long it takes. */
void move_read_owner(const struct vm *vm, struct lease *ret_owner);
