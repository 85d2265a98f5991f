/* What must hold while a move goes on, and after it, whatever happened. */
#pragma once

#include "machine.h"

struct sim_outcome {
    enum engine_outcome source, destination;
    struct error source_error, destination_error;
    struct engine_statistics statistics;
    struct engine_destination_statistics destination_statistics;
    uint64_t source_end_ns;
    double fraction; /* the last one told */
};

/* What is known of a seed beforehand. */
struct sim_expectation {
    bool faithful; /* what is sent arrives unchanged */
    bool
        undisturbed; /* nothing goes wrong: it moves, unless the guest is too busy for the target */
    uint64_t cancel_ns;
    const struct engine_source_options *options;
};

void sim_check_progress(struct sim_world *world, struct sim_outcome *outcome,
                        const struct engine_progress *progress);
void sim_check_end(struct sim_world *world, const struct sim_machine *machine,
                   const struct sim_outcome *outcome, const struct sim_expectation *expectation);
