/*
 * Sending pages over one connection: zero pages told or left out, content sent as it is, packed, or
 * straight from the RAM file. One for channel 0, and one for each further connection, in a thread
 * of its own; none of them knows of the others.
 */
#pragma once

#include "engine/guest.h"
#include "engine/pack_lane.h"
#include "engine/page_batch.h"
#include "engine/stream.h"

/* What one connection, or all of them, sent. */
struct lane_figures {
    uint64_t pages_sent; /* as data */
    uint64_t pages_zero; /* found to be zero: told, or left out */
    uint64_t content_bytes;
    uint64_t pages_packed[PACK_METHODS]; /* of the pages sent, by method */
};

/* What the lanes of a move share; all borrowed, and outlives them. */
struct lane_terms {
    const struct engine_source_guest *guest;
    const struct engine_clock *clock;
    struct page_set *delivered; /* pages of which the destination has data */
    bool compress;
    struct delta_cache *cache; /* NULL: no differences are sent */
};

struct lane_sender {
    struct stream *stream; /* borrowed */
    const struct engine_source_guest *guest;

    /* Pages of which the destination has data: `delivered` as it was when the round began, changed
     * by what this lane has sent since. A lane that is alone writes into `delivered` itself. */
    struct page_set *delivered; /* borrowed */
    bool alone;
    struct page_set sent;   /* owned; empty where alone */
    struct page_set zeroed; /* likewise */
    bool changed;           /* there is something in them */

    struct lane_figures figures; /* since the last lane_sender_settle() */
    struct page_batch data;
    struct page_batch zero;
    struct pack_lane pack;
    bool packs; /* `pack` is there */
    uint8_t table[WIRE_HEADER_SIZE + WIRE_TABLE_MOST];
};

/* `delivered` is not changed by others between two settlements. With `alone` no other lane runs
 * while this one sends. 0 or -ENOMEM. */
int lane_sender_init(struct lane_sender *lane, struct stream *stream,
                     const struct lane_terms *terms, bool alone, struct error *err);
void lane_sender_done(struct lane_sender *lane);

/* A round begins, or goes on after something else: the time that passed does not count. */
void lane_sender_resume(struct lane_sender *lane);

/* Of one processor's time, what this lane may spend on packing: 0 to 1, and 1 until told. */
void lane_sender_set_idle(struct lane_sender *lane, double idle);

/* Sends all pages of `batch`, read as they are now. */
int lane_sender_send(struct lane_sender *lane, const struct page_batch *batch, struct error *err);

/* Says that these pages, of which the destination has data, are zeroes now. */
int lane_sender_tell_zero(struct lane_sender *lane, const struct page_batch *batch,
                          struct error *err);

/* Says that nothing more of round `number` comes on this connection, nor on `channels` others. */
int lane_sender_end_round(struct lane_sender *lane, uint32_t number, unsigned channels,
                          struct error *err);

/* Takes what was sent since the last time into `delivered`, and its figures into `sum`. */
void lane_sender_settle(struct lane_sender *lane, struct lane_figures *sum);
