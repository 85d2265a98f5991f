/*
 * Receiving pages over one connection: what PAGES, PACKED and ZERO do to the guest's memory. One
 * for channel 0, and one for each further connection, in a thread of its own.
 */
#pragma once

#include "engine/guest.h"
#include "engine/pack.h"
#include "engine/stream.h"

struct lane_receiver {
    struct stream *stream; /* borrowed */
    const struct engine_destination_guest *guest;

    /* Pages that hold data; all others are holes: zeroes. `received` as it was when the round
     * began, changed by what this lane has brought since. */
    const struct page_set *received; /* borrowed */
    struct page_set arrived;         /* owned */
    struct page_set zeroed;          /* likewise */
    uint64_t pages_received;         /* since the last lane_receiver_settle() */
    bool changed;                    /* there is something in `arrived` or `zeroed` */

    uint8_t *body; /* owned; tables */
    struct wire_run runs[WIRE_RUNS_MOST];
    struct unpacker unpacker;
    const uint8_t *bases[PACK_CHUNK_PAGES]; /* of differences */
};

/* 0 or -ENOMEM. */
int lane_receiver_init(struct lane_receiver *lane, struct stream *stream,
                       const struct engine_destination_guest *guest,
                       const struct page_set *received, struct error *err);
void lane_receiver_done(struct lane_receiver *lane);

/* Receives the body of a PAGES, PACKED or ZERO frame. -ENOMEM when the host has no page left. */
int lane_receiver_take(struct lane_receiver *lane, const struct wire_header *header,
                       struct error *err);

/* Receives the body of a ROUND_END frame. */
int lane_receiver_round_end(struct lane_receiver *lane, struct wire_round_end *ret_end,
                            struct error *err);

/* Takes what came since the last time into `received`, and its pages into `*pages`. */
void lane_receiver_settle(struct lane_receiver *lane, struct page_set *received, uint64_t *pages);
