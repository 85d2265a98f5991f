/*
 * Following a mover to its end over its control socket, on either side: relays progress, answers
 * its question, passes on a wish to give up. Works the same for a mover just started and for one
 * that an earlier agent started.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/agent.h"
#include "agent/move/move_owner.h"
#include "agent/vm/record.h"

enum move_end {
    MOVE_END_MOVED,
    MOVE_END_STAYED,
    MOVE_END_STRANDED,
    MOVE_END_LOST, /* the source's only: the VM is neither side's any more; the mover waits */
    MOVE_END_GONE, /* the mover died or hung without a result: the lease decides */
};

struct move_watcher {
    void (*progress)(void *context, const json_t *event); /* may be NULL */
    bool (*cancelled)(void *context);
    /* The move stands still, and for what; NULL: not any more. */
    void (*waiting)(void *context, const char *what);
    /* The destination's: the source has said that it keeps the VM; may be NULL. */
    bool (*source_has_kept)(void *context);
    void *context;
};

/* Returns when there is a result, or none to come. The mover stays until move_dismiss(), so that a
 * result is never lost: act on it first. On success of none but MOVED, err says why.
 * *ret_statistics is a new reference, or NULL. */
enum move_end move_follow(struct agent *agent, const struct vm *vm, struct move_record *move,
                          const struct move_watcher *watcher, json_t **ret_statistics,
                          struct error *err);

/* Tells the mover of a VM that has come here that its result was taken, and forgets the move's
 * record. The mover goes on announcing the VM to the network for a moment, and ends by itself. */
void move_let_go(struct agent *agent, const struct vm *vm, const struct move_record *move);

/* Ends the mover, whatever it does, and forgets the move's record. */
void move_dismiss(struct agent *agent, const struct vm *vm, const struct move_record *move);

/* Asks move_owner_withdraw() or move_owner_reclaim() until the datastore answers, however long it
 * takes: that is shown to the watcher meanwhile. */
typedef int move_owner_function(struct agent *agent, const struct vm *vm,
                                const struct move_record *move, enum move_owner *ret_owner,
                                struct error *err);
enum move_owner move_await_owner(struct agent *agent, const struct vm *vm,
                                 const struct move_record *move, const struct move_watcher *watcher,
                                 move_owner_function *find_out);
