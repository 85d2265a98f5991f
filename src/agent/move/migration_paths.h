/*
 * Which of the source's migration addresses connects to which of the destination's, where hosts
 * have several: one path for each pair of addresses in one subnet, so that every network is used,
 * and what is left over round robin. All paths are equals: connections take work as they get it
 * done, so a faster network carries more by itself.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "agent/config.h"
#include "base/error.h"
#include "mover/setup.h"

/* An address of this host. */
struct migration_local {
    char address[CONFIG_ADDRESS_SIZE];
    unsigned prefix; /* length of the subnet's; 0: not known, then it is in nobody's subnet */
};

/* Fills in the subnets' prefixes from this host's interfaces. */
void migration_locals(const struct agent_config *config,
                      struct migration_local ret_locals[MOVER_PATHS_MOST], size_t *ret_count);

/* Sets setup->paths from the destination's answer, {"endpoints": [{"address", "port"}, ...]}.
 * -EINVAL for an answer that is none. */
int migration_paths(const struct migration_local *locals, size_t count, const json_t *answer,
                    struct mover_setup *setup, struct error *err);
