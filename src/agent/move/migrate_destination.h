/*
 * A move, from the side that the VM comes to: the shadow VM and its mover, until the VM runs here
 * or nothing is left of it. Each move has a thread that follows its mover.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/agent.h"
#include "agent/vm/record.h"

/* The checks on this host's side; `body` is that of POST /v1/incoming/check. *ret_verdict is
 * {"verdict", "checks"}. */
int incoming_check(struct agent *agent, const json_t *body, json_t **ret_verdict,
                   struct error *err);

/* POST /v1/incoming: starts the shadow VM and its mover. *ret_place is {"endpoints"}:
 * [{"address", "port"}, ...], where the source's mover is to connect. */
int incoming_begin(struct agent *agent, const json_t *body, json_t **ret_place, struct error *err);

/* Follows a move that an earlier agent began; puts the VM, incoming, into the inventory. */
int incoming_resume(struct agent *agent, const struct vm *vm, const struct move_record *record,
                    struct error *err);

/* DELETE /v1/incoming/MOVE: gives it up and waits until nothing is left. -EBUSY when the VM runs
 * here. `disowned`: the source asks, which has ended the move and never commits it any more: that
 * is enough where the lease cannot be written. */
int incoming_cancel(struct agent *agent, const char *move_id, bool disowned, struct error *err);
