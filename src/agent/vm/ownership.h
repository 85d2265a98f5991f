/*
 * Leases, as the agent needs them. Whoever holds a VM's lease may run it; nothing else decides. All
 * that the agent reads and changes of leases goes through here: a datastore that does not answer is
 * refused at once (datastores.h), and waits for nothing.
 */
#pragma once

#include <stdbool.h>

#include "agent/agent.h"
#include "agent/task.h"
#include "storage/lease.h"

/* The VM's lease as the datastore has it now. */
int ownership_read(struct agent *agent, const struct vm *vm, struct lease *ret_lease,
                   struct error *err);

/* lease_advance(): -EEXIST when somebody else was first. */
int ownership_advance(struct agent *agent, const struct vm *vm, uint64_t after, const char *host,
                      struct error *err);

/* How a VM's lease may be taken. */
enum ownership_claim {
    OWNERSHIP_FREE,      /* nobody's or this host's; another's is refused, naming it */
    OWNERSHIP_TAKE_OVER, /* another's as soon as that host is dead; waits for it */
    OWNERSHIP_FENCED,    /* another's now: the operator vouches that it is switched off */
};

/* Says that the VM is another host's (vm->owner), whether that lives, and what to do. -EBUSY. */
int ownership_refuse(struct agent *agent, const struct vm *vm, struct error *err);

/* Takes the VM's next epoch in this host's name: vm->owner is filled, on failure too when the owner
 * is known. Waits are shown in `task`, end when it is cancelled (-ECANCELED) and after a limit
 * (-ETIMEDOUT). -EBUSY: it is another host's. */
int ownership_take(struct agent *agent, struct vm *vm, enum ownership_claim claim,
                   struct task *task, struct error *err);

/* Gives it up when it is this host's. */
int ownership_release(struct agent *agent, struct vm *vm, struct error *err);

/* Whether it is another host's, for certain. */
bool ownership_is_foreign(const struct agent *agent, const struct lease *lease);
