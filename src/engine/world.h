/*
 * What else the engine needs of the world: time, who owns the VM, and someone who listens.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/statistics.h"

struct engine_clock {
    uint64_t (*now_ns)(void *clock); /* monotonic */
    void (*sleep_ns)(void *clock, uint64_t duration_ns);
    void *clock;
    uint64_t (*work_ns)(void *clock); /* that the calling thread had of a processor; NULL: as now */
};

/* What a question about ownership came to. */
enum engine_verdict {
    ENGINE_OWNER_SOURCE,      /* decided, for good: the source owns the VM */
    ENGINE_OWNER_DESTINATION, /* decided, for good: the destination owns the VM */
};

/*
 * The single atomic act. Both calls block until there is a decision: an undecided VM runs nowhere,
 * and a wrong guess would be a second copy. They may wait for an agent to come back; they fail
 * never, except in that the process is told to end.
 */
struct engine_ownership {
    /* Source: give the VM to the destination, by creating its next epoch in the destination's name.
     * The destination's word that it is ready may be so old already (more than the wait for it only
     * where the source itself did not run), and it may be dead by now. ENGINE_OWNER_SOURCE when it
     * has withdrawn before, or its word is too old. */
    enum engine_verdict (*commit)(void *ownership, uint64_t ready_age_ns);

    /* Destination, in doubt after it said that it is ready: has the source committed? If not,
     * withdraw, by creating the next epoch in the source's name, so that it never can. */
    enum engine_verdict (*settle)(void *ownership);
    void *ownership;
};

struct engine_observer {
    /* State, phase or figures changed; called at most some ten times a second and at each phase. */
    void (*progress)(void *observer, const struct engine_progress *progress);
    /* Whether the operator asked to give up. Checked often. */
    bool (*cancelled)(void *observer);
    void *observer;
};
