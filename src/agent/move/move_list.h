/*
 * Moves that come in: what the source's agent asks about with GET and DELETE /v1/incoming/MOVE.
 * The mutex is a leaf.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define MOVES_ENDED_KEPT 100

enum move_state {
    MOVE_RECEIVING,
    MOVE_RUNNING,   /* the VM runs here */
    MOVE_ABANDONED, /* given up: the source has the VM, nothing is left here */
    MOVE_FAILED     /* owned by this host, but does not run */
};

struct move_list;

struct move_list *move_list_new(void);
void move_list_free(struct move_list *list);

/* -EEXIST for an id that is known already. `from` is the host that the VM comes from. */
int move_list_begin(struct move_list *list, const char *move_id, const char *from,
                    struct error *err);

/* Whether the move is known, and comes from that host. */
bool move_list_is_from(struct move_list *list, const char *move_id, const char *host);

/* The end of it; `err` is copied unless NULL, the reference to `statistics` (may be NULL) taken. */
void move_list_end(struct move_list *list, const char *move_id, enum move_state state,
                   const struct error *err, json_t *statistics);

/* As in the API; NULL when there is none. */
json_t *move_list_get(struct move_list *list, const char *move_id);

/* Asks the move's thread to give up, and waits until it has ended: -ENOENT, -ETIMEDOUT, or the
 * state that it ended in. `disowned`: it is the source that asks, which has ended the move and
 * never commits it any more. */
int move_list_cancel(struct move_list *list, const char *move_id, bool disowned,
                     uint64_t timeout_ns, struct error *err);

/* For the move's thread. */
bool move_list_is_cancelled(struct move_list *list, const char *move_id);
bool move_list_is_disowned(struct move_list *list, const char *move_id);
