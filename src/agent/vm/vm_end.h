/*
 * The ends of VMs: stopped by somebody, ended by themselves, or by the guard because this host
 * could not prove that it lives, or because they have become another host's.
 *
 * The order that keeps a VM from running twice: its lease is given up after QEMU has ended, never
 * before.
 */
#pragma once

#include "agent/agent.h"

/* Of a claimed VM: ends what is left of it here, then its lease, then the claim. */
int vm_end_stopped(struct agent *agent, struct vm *vm, struct error *err);

/* Of a claimed VM whose QEMU is gone, nobody having asked for that. One that ended at its deadline
 * is this host's as long as no other takes it over: it is noted to be started again (restarts.h).
 */
void vm_end_died(struct agent *agent, struct vm *vm);

/* A watch_function; `context` is the agent. Sees to a running VM whose process is gone. */
void vm_end_noticed(void *context, const char *uuid);

/* Of a VM that could not be cleaned up when it ended, or failed to start (no descriptors were left,
 * say), and has no process: tries again. */
void vm_end_retry(struct agent *agent, const struct vm *seen);

/* Of a stopped VM, as far as `seen` knows, whose lease is this host's all the same (it could not be
 * given up when the VM ended), and that is not to be started again: gives it up. */
int vm_end_release(struct agent *agent, const struct vm *seen, struct error *err);

/* Of a VM that runs here, as far as `seen` knows: ends it if its lease is another host's. */
void vm_end_if_foreign(struct agent *agent, const struct vm *seen);
