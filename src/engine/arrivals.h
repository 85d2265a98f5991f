/*
 * The further connections of a move, as the destination's engine sees them: whoever implements this
 * lets them in and runs a lane_receiver on each, in threads or one after the other.
 *
 * A lane that has brought the end of a round waits there until settle(), so `received` changes only
 * while no lane looks at it.
 */
#pragma once

#include <stdint.h>

#include "engine/lane_receiver.h"

struct engine_arrivals_operations {
    /* Channel 0 was let in: at most `most` further connections may come from now on. `received` is
     * borrowed. */
    int (*open)(void *arrivals, unsigned most, const struct page_set *received, struct error *err);

    /* Whether all is well with those that came: 0, or why one failed. Asked often. */
    int (*check)(void *arrivals, struct error *err);

    /* 1 when `lanes` of them have brought the end of round `number`; 0 after timeout_ns. */
    int (*await_round)(void *arrivals, unsigned lanes, uint32_t number, uint64_t timeout_ns,
                       struct error *err);

    /* After await_round(): what came goes into `received` and `pages`, and the lanes go on. */
    void (*settle)(void *arrivals, struct page_set *received, uint64_t *pages);

    /* No more pages come: the lanes end, and nobody waits for them, for a guest stands still. */
    void (*hang_up)(void *arrivals);

    /* The same, and waits for them: when it returns no lane touches the guest's memory, nor
     * `received`, and none will be let in. May be called again. */
    void (*close)(void *arrivals);

    /* A running total. */
    uint64_t (*bytes_received)(void *arrivals);
};

struct engine_arrivals {
    const struct engine_arrivals_operations *operations;
    void *arrivals;
};
