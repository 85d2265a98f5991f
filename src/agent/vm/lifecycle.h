/*
 * Starting, stopping and removing VMs.
 *
 * The order that keeps a VM from running twice: its lease is taken before QEMU starts and given up
 * after it has ended, never the other way round.
 */
#pragma once

#include "agent/agent.h"
#include "agent/vm/ownership.h"

#define LIFECYCLE_STOP_TIMEOUT_S 60

/* Each claims the VM and starts a task, whose id is stored. */
int lifecycle_start(struct agent *agent, const char *name, enum ownership_claim claim,
                    char ret_task[UUID_TEXT_SIZE], struct error *err);
int lifecycle_stop(struct agent *agent, const char *name, bool force, uint64_t timeout_ns,
                   char ret_task[UUID_TEXT_SIZE], struct error *err);

/* Removes a stopped VM with its folder. */
int lifecycle_remove(struct agent *agent, const char *name, struct error *err);

/* Ends a claim with the VM running: released, and watched from now on. */
void lifecycle_release_running(struct agent *agent, const struct vm *vm);
