/*
 * What a mover is given of a running QEMU: taken out of the process itself (pidfd_getfd(2)), so
 * that an agent that was restarted can do it as well as the one that started QEMU.
 */
#pragma once

#include "agent/agent.h"
#include "mover/setup.h"

/* Fills memory_fd, qmp_fd, the NICs, and for the source userfaultfd, pagemap_fd, pacing_fd and
 * memory_address. On success descriptors_close() follows; on failure nothing is open. */
int descriptors_open(const struct agent *agent, const struct vm *vm, struct mover_setup *setup,
                     struct error *err);
/* Of these only what the role `sample` needs: memory and tracking. */
int descriptors_open_tracking(const struct agent *agent, const struct vm *vm,
                              struct mover_setup *setup, struct error *err);

void descriptors_close(struct mover_setup *setup);

/* Why the guest's writes cannot be tracked, in QEMU's process; NULL: they can. Static text. */
const char *descriptors_obstacle(const struct agent *agent, const struct vm *vm);

/* Turns carrier on or off on all taps of a VM. */
int descriptors_set_carrier(const struct vm *vm, bool carrier, struct error *err);

/* Tells the network where the VM is now: RARP from each NIC. */
int descriptors_announce(const struct vm *vm, struct error *err);
