/*
 * Looking at how a running VM writes its memory: a mover in the role `sample` (mover/sample.h),
 * from start to answer.
 *
 * Only one process may track a VM. A look at a VM that nobody has claimed ends at once when
 * somebody claims it for a move: the move calls sampling_drive_out() after its claim and before
 * anything of its own tracks; whoever comes later finds the VM claimed. A look leaves no trace in
 * the run folder: its mover ends by itself, at once when its agent has died.
 *
 * Locks: the list's mutex is held while the inventory's is taken, never the other way round.
 */
#pragma once

#include "agent/vm/inventory.h"
#include "engine/forecast.h"

struct agent;
struct sampling;
struct sampling_list;

struct sampling_list *sampling_list_new(void);

/* Begins to look at a VM, for `duration_ns` at most. `claimed`: the caller has claimed it; else it
 * must be running, and nobody else may look at it. sampling_end() follows success. */
int sampling_begin(struct agent *agent, const struct vm *vm, bool claimed, uint64_t duration_ns,
                   struct sampling **ret_sampling, struct error *err);

/* Waits for the look's end, or with `hurry` ends it now, and takes the answer. The VM is untracked
 * then, and the mover gone, whatever came of it. */
int sampling_end(struct sampling *sampling, bool hurry, struct engine_sample *ret_sample,
                 struct error *err);

/* For who has claimed the VM: ends the look of somebody who has not, if there is one, and waits
 * until it is over. */
void sampling_drive_out(struct agent *agent, const char *uuid);
