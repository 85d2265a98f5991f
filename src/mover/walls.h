/*
 * The walls that a mover is started behind; those that it puts up by itself once it runs are
 * sandbox.h's.
 */
#pragma once

#include <limits.h>

#include "base/confine.h"
#include "mover/setup.h"

#define MOVER_WALLS_LIMITS_MOST 4

struct mover_walls {
    struct confinement confinement; /* refers to what follows */
    char folder[PATH_MAX];          /* the program's */
    struct confine_path paths[CONFINE_LIBRARY_PATHS + 1];
    struct confine_limit limits[MOVER_WALLS_LIMITS_MOST];
};

/* Not to be copied. */
int mover_walls_build(struct mover_walls *walls, const struct mover_setup *setup,
                      const char *program, struct error *err);
