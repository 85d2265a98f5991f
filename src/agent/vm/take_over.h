/*
 * Taking a VM over from a host that is dead. Nothing but that host's heartbeat on the datastore
 * says so: it must have stood still, as seen by this host's own clock, for the datastore's
 * take-over time, which is longer than the VMs over there can outlive it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/agent.h"
#include "agent/task.h"

#define TAKE_OVER_LIFE_SIZE 160

/* What is known of the life of the VM's owner: "host h1 lives: its heartbeat moved 0.3 s ago". True
 * when it is dead. */
bool take_over_describe(struct agent *agent, const struct vm *vm, char *text, size_t size);

/* Waits until the VM's owner is dead; shows how long that may take in the task. -EBUSY as soon as
 * it shows life; -ECANCELED; -ETIMEDOUT. `fenced`: the operator vouches that it is off: only looks
 * for a moment that it shows no life. */
int take_over_wait(struct agent *agent, const struct vm *vm, bool fenced, struct task *task,
                   struct error *err);
