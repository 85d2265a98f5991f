/*
 * The walls around a QEMU: what is left to a guest that has broken out into it. Besides, QEMU
 * denies itself the system calls that it needs only to start (-sandbox, see command_line.c).
 */
#pragma once

#include <limits.h>

#include "base/confine.h"
#include "vmm/qemu/machine.h"

#define QEMU_WALLS_PATHS_MOST (CONFINE_LIBRARY_PATHS + 5)
#define QEMU_WALLS_LIMITS_MOST 3

struct qemu_walls {
    struct confinement confinement; /* refers to what follows, and to the machine */
    char preload_folder[PATH_MAX];
    struct confine_path paths[QEMU_WALLS_PATHS_MOST];
    struct confine_limit limits[QEMU_WALLS_LIMITS_MOST];
};

/* Not to be copied. `preload`: path of the preload library; empty: none. */
void qemu_walls_build(struct qemu_walls *walls, const struct qemu_machine *machine,
                      const char *preload);
