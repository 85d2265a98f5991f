/*
 * What the agent and drover-guard have to do with each other. The agent writes down which
 * datastores there are (RUN_FOLDER/guard/datastores.json), and the guard proves on them that this
 * host lives; for each proof it moves the datastore's deadline on, at which the kernel ends the VMs
 * that are on it. A VM is started or received only where that deadline is ahead.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "agent/agent.h"

/* Writes the instructions, when they have changed. */
int guarding_instruct(struct agent *agent, struct error *err);

/* Whether the VMs of a datastore have a deadline. Not where only this host sees it. */
bool guarding_applies(const struct datastore *datastore);

/* 0 when VMs may run; -EHOSTUNREACH when no deadline is ahead, saying why and what to do. */
int guarding_check(struct agent *agent, const struct datastore *datastore, struct error *err);

/* As guarding_check(), and marks this stretch of time in which the deadline never passed: what is
 * started later (launch_start()) starts only in the same stretch. To be called before the lease is
 * taken. */
int guarding_mark(struct agent *agent, const struct datastore *datastore, uint64_t *ret_lapses,
                  struct error *err);

/* The deadline page for a VM's QEMU: a descriptor, or -1 with 0 returned where there is none. */
int guarding_open(struct agent *agent, const struct datastore *datastore, int *ret_fd,
                  struct error *err);

/* Until the deadline, in nanoseconds; negative: since. -ENOENT where there is none. */
int guarding_left(struct agent *agent, const struct datastore *datastore, int64_t *ret_left_ns,
                  struct error *err);
