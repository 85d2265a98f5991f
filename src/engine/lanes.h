/*
 * The further connections of a move, as the source's engine sees them: whoever implements this runs
 * a lane_sender on each, in threads or one after the other. A batch goes to whichever lane is free,
 * so a faster one takes more and none waits for another.
 *
 * Within a round no page is in two batches, and the order of batches means nothing; between rounds
 * stands the destination's ROUND_ACK.
 */
#pragma once

#include <stdint.h>

#include "engine/lane_sender.h"

struct engine_lanes_operations {
    /* The destination has let channel 0 in: opens at most `most` further connections. `terms` is
     * borrowed; terms->delivered is changed only by settle(). Those that cannot be opened are done
     * without: 1 when there is at least one, 0 when there is none. */
    int (*open)(void *lanes, unsigned most, const struct lane_terms *terms, struct error *err);

    /* Takes a copy of `batch`, to be sent soon: 1; 0 when no lane had room within timeout_ns. */
    int (*submit)(void *lanes, const struct page_batch *batch, uint64_t timeout_ns,
                  struct error *err);

    /* Lets every lane end round `number` after what was submitted: 1 and how many do, when all have
     * been told to the destination; 0 when that takes longer than timeout_ns (ask again). */
    int (*end_round)(void *lanes, uint32_t number, uint64_t timeout_ns, unsigned *ret_lanes,
                     struct error *err);

    /* Between end_round() and the next submit(): what was sent goes into `delivered` and `sum`. */
    void (*settle)(void *lanes, struct lane_figures *sum);

    /* Running totals: bytes given to the network, and of these those still on this side. */
    uint64_t (*bytes_sent)(void *lanes);
    uint64_t (*bytes_queued)(void *lanes);

    /* Pages dealt with since the last settle(): for who watches. */
    uint64_t (*pages_done)(void *lanes);

    /* The move is over, however it ended: hangs up. When it returns, nothing of `terms` nor of the
     * guest is looked at any more. Called once, whether or not open() was; bytes_sent() may follow.
     */
    void (*close)(void *lanes);
};

struct engine_lanes {
    const struct engine_lanes_operations *operations;
    uint64_t batch_pages; /* of one batch */
    uint64_t worth_pages; /* to wake the lanes for fewer costs more than it saves */
    void *lanes;
};
