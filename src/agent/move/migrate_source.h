/*
 * A move, from the side that the VM leaves. The task's phases are check, reserve, connect,
 * pre-copy, switchover (the three of the mover's) and finish.
 *
 * Until the commit, whatever fails leaves the VM running here; after it, the VM is the
 * destination's, and what is left here is removed. move.json is in the VM's run folder from the
 * moment that a mover may exist until the mover is gone: an agent that finds it goes on from there.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/move/migrate_options.h"
#include "agent/vm/record.h"

/* Claims the VM and starts the task. */
int migrate_start(struct agent *agent, const char *name, const struct migrate_options *options,
                  char ret_task[UUID_TEXT_SIZE], struct error *err);

/* Follows a move that an earlier agent started; puts the VM, migrating, into the inventory. */
int migrate_resume(struct agent *agent, const struct vm *vm, const struct move_record *record,
                   struct error *err);

/* The checks, and where nothing blocks a forecast, for which the VM is watched for two seconds:
 * *ret_verdict is {"verdict", "checks", "forecast"}. Leaves nothing behind anywhere. */
int migrate_check(struct agent *agent, const char *name, const struct migrate_options *options,
                  json_t **ret_verdict, struct error *err);
