/* A move of a guest that writes in a pattern, in the simulator, with figures of what it took. */
#pragma once

#include "engine/source.h"
#include "patterns.h"

struct busy_guest {
    uint64_t pages;
    uint64_t link_rate; /* bytes a second */
    enum pattern pattern;
    double write_rate; /* pages a second */
    uint64_t target_ns;
    uint64_t state_ns; /* to save and load the device state, together */
    uint64_t limit_ns;
    bool pace;
    bool collects_stretches; /* false: the guest is asked for what is dirty once a round only */
    bool trace;
};

struct busy_result {
    bool moved;
    uint64_t bytes;
    uint64_t until_stop_ns;
    double writes_lost; /* of those that it would have done by then: 0 to 1 */
    struct engine_statistics statistics;
    char failure[600]; /* empty: memory arrived as it was */
};

/* A result that is of no use is told in `failure`. */
void busy_move_run(const struct busy_guest *guest, struct busy_result *ret_result);
