/*
 * Pre-copy as hypervisors do it: which pages are dirty is asked once a round, and a round sends all
 * of them (Clark et al., "Live Migration of Virtual Machines", 2005). What a move of ours is
 * measured against.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "patterns.h"

struct rounds_terms {
    uint64_t pages;
    uint64_t link_rate;   /* bytes a second */
    double write_rate;    /* pages a second */
    uint64_t downtime_ns; /* stopped when what is dirty takes no longer */
    uint64_t limit_ns;
};

struct rounds_result {
    uint64_t bytes;
    uint64_t total_ns;
    bool completed;
};

struct rounds_result rounds_model(const struct rounds_terms *terms, struct pattern_writer *writer);
