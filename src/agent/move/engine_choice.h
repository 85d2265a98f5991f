/*
 * Which engine moves a VM: Drover's own wherever it can, else QEMU's own migration. Pure functions.
 *
 * QEMU's migration of a guest under TCG loses writes: QEMU 7.2 alone, without Drover, brings such
 * guests over with wrong memory (docs/platform.md). So it is never chosen for one without being
 * asked for by name.
 */
#pragma once

#include <stdbool.h>

#include "agent/move/checks.h"
#include "agent/move/migrate_options.h"

struct engine_choice {
    enum {
        ENGINE_CHOICE_DROVER,
        ENGINE_CHOICE_NATIVE,
        ENGINE_CHOICE_NONE,   /* the move is refused */
        ENGINE_CHOICE_UNTOLD, /* the host does not tell what it can */
    } which;
    bool by_itself;     /* native, although nobody asked for it */
    bool loses_writes;  /* what is left is, or would be, unsafe: the guest runs without KVM */
    char obstacle[256]; /* why not Drover's; empty: it can */
};

/* Reads `engine`, `accelerator`, `vm_obstacle` and `source`. */
void engine_choose(const struct checks_move *move, struct engine_choice *ret_choice);

/* The finding about it, for the checks before a move. */
void engine_choice_check(const struct checks_move *move, json_t *list);
