/*
 * A VM's process and all that belongs to it: slot and user, run folder, open files, taps, QEMU.
 * Says nothing of ownership: who calls this has settled that.
 */
#pragma once

#include <stdbool.h>

#include "agent/agent.h"

#define LAUNCH_MOVER_UID_OFFSET 10000 /* the mover's user is the VM's plus this */

/* The user that a mover of this VM runs as. */
uid_t launch_mover_uid(const struct agent *agent, const struct vm *vm);

/* What this VM runs with, or would if it were started here: "kvm" or "tcg". */
const char *launch_accelerator(const struct agent *agent, const struct vm *vm);

/* A machine that waits for a migration's stream, its taps without carrier. */
struct launch_shadow {
    void (*memory_made)(void *context, int memory_fd); /* its RAM file is there; borrowed */
    void *context;
};

/* Starts QEMU for a claimed VM: running (`shadow` NULL), or as a shadow. `lapses` is from
 * guarding_mark(). Fills vm->runtime. On failure nothing is left. */
int launch_start(struct agent *agent, struct vm *vm, const struct launch_shadow *shadow,
                 uint64_t lapses, struct error *err);

/* Ends QEMU, and whatever else runs as the VM's users, and removes the run folder, memory and slot.
 * vm->has_runtime is false afterwards. */
int launch_end(struct agent *agent, struct vm *vm, struct error *err);

/* The last line of QEMU's log, for why it ended; empty when it said nothing. */
void launch_last_words(const struct agent *agent, const struct vm *vm, char *text, size_t size);
