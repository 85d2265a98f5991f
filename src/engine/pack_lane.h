/*
 * Packing as a lane sees it: the packer, the choice and the memory of what was sent, put together.
 *
 * A lane's sending thread does for each stretch of pages that hold data:
 *
 *     if (!pack_lane_wants(lane)) {
 *         send it as PAGES, any size;
 *         pack_lane_sent_plain(lane, runs, count, queued);
 *     } else {
 *         pack_lane_pack(lane, memory, runs, count, &chunk);     at most PACK_CHUNK_PAGES pages
 *         chunk.method != PACK_NONE:  send PACKED {table, chunk.method, chunk.bytes}
 *         chunk.bytes != NULL:        send PAGES, its content from chunk.bytes
 *         else:                       send PAGES from the guest's memory
 *         pack_lane_sent(lane, &chunk, queued);
 *     }
 *
 * pack_lane_sent_zero() for pages told as ZERO, and pack_lane_resume() when it begins a round.
 */
#pragma once

#include <stdbool.h>

#include "engine/pack.h"
#include "engine/pack_choice.h"
#include "engine/world.h"

struct pack_lane {
    struct packer packer;
    struct pack_choice choice;
    struct delta_cache *cache;        /* borrowed */
    const struct engine_clock *clock; /* borrowed */
    uint64_t last_sent_ns;            /* when the last send returned, or sending began */
};

/* A chunk ready to be sent. The bytes are the lane's until its next call. */
struct pack_chunk {
    enum pack_method method;
    const uint8_t *bytes; /* NULL: to be sent from the guest's memory */
    size_t length;        /* of what is sent */
    size_t content;       /* of its pages */

    enum pack_method tried; /* for pack_lane_sent(): also when it did not shrink */
    uint64_t pack_ns;       /* that passed */
    uint64_t work_ns;       /* of a processor */
};

/* `cache`, which all lanes of a move share, and `clock` outlive the lane; `cache` may be NULL: then
 * there are no differences. 0 or -ENOMEM. */
int pack_lane_init(struct pack_lane *lane, struct delta_cache *cache,
                   const struct engine_clock *clock, struct error *err);
void pack_lane_done(struct pack_lane *lane);

/* Sending begins (again): the time that passed before does not count, nor do the bytes that are in
 * the socket. */
void pack_lane_resume(struct pack_lane *lane, uint64_t queued);

/* Of one processor's time, what this lane may spend on packing without taking it from the guest or
 * from others: 0 to 1, and 1 until told. What this move's lanes use themselves counts as idle. */
void pack_lane_set_idle(struct pack_lane *lane, double idle);

/* Whether the next chunk should go through pack_lane_pack(). False where nothing could be gained,
 * and while the link is measured: then sending costs no more than if there were no packing. */
bool pack_lane_wants(const struct pack_lane *lane);

/* Chooses and packs. Never fails: a chunk that does not shrink is given back plain. */
void pack_lane_pack(struct pack_lane *lane, const uint8_t *memory, const struct page_run *runs,
                    uint32_t run_count, struct pack_chunk *ret_chunk);

/* The send of the chunk returned; so many bytes are still in the socket. */
void pack_lane_sent(struct pack_lane *lane, const struct pack_chunk *chunk, uint64_t queued);

/* The send of these pages, out of the guest's memory and without pack_lane_pack(), returned; as
 * above. */
void pack_lane_sent_plain(struct pack_lane *lane, const struct page_run *runs, uint32_t run_count,
                          uint64_t queued);

/* These pages were told to be zero. */
void pack_lane_sent_zero(struct pack_lane *lane, const struct page_run *runs, uint32_t run_count);
