/*
 * Both sides' further connections of one move, in one process: real TCP over loopback, and guests
 * that are nothing but memory.
 */
#pragma once

#include <stdatomic.h>

#include "mover/destination_lanes.h"
#include "mover/source_lanes.h"

#define LANES_PAIR_PAGES 8192u
#define LANES_PAIR_MEMORY ((uint64_t)LANES_PAIR_PAGES * ENGINE_PAGE_SIZE)
#define LANES_PAIR_MOVE "00000000-0000-4000-8000-000000000001"
#define LANES_PAIR_KEY ((const uint8_t *)"thirty-two bytes, known to two..")
#define LANES_PAIR_TOKEN "the secret of this move"

struct lanes_pair {
    struct mover_setup setup;                            /* of both sides */
    struct secure_context *source_key, *destination_key; /* NULL: in clear */
    atomic_bool cancelled;
    int memory_fd, copy_fd;
    uint8_t *memory, *copy;
    struct engine_clock clock;
    struct engine_source_guest source_guest;
    struct engine_destination_guest destination_guest;
    struct lane_terms terms;
    struct page_set delivered, received;
    struct lane_figures figures; /* settled at the source */
    uint64_t pages_received;     /* at the destination */
    struct source_lanes *source;
    struct destination_lanes *destination;
};

/* cmocka's setup and teardown: a listener on one path, guests of LANES_PAIR_PAGES pages, nobody
 * connected. */
int lanes_pair_set_up(void **state);
int lanes_pair_set_up_secure(void **state); /* encrypted, with LANES_PAIR_KEY */
int lanes_pair_tear_down(void **state);

/* Adds a path to a port of this machine. */
void lanes_pair_add_path(struct lanes_pair *pair, uint16_t port);

/* Opens both sides for `most` connections; gives what the source's open() did. Waits for `expected`
 * of them to be let in. */
int lanes_pair_open(struct lanes_pair *pair, unsigned most, unsigned expected);

/* Fills a run of the source's memory: with data, or with zeroes. */
void lanes_pair_fill(struct lanes_pair *pair, struct page_run run, bool zero);

/* Hands over the run in batches: 1, or what the first submit() that failed said. */
int lanes_pair_submit(struct lanes_pair *pair, struct page_run run, struct error *err);

/* Ends the round on both sides, and settles it: how many lanes carried a part of it. */
unsigned lanes_pair_end_round(struct lanes_pair *pair, uint32_t number);

void lanes_pair_assert_equal(const struct lanes_pair *pair);

/* Waits until `lanes` connections were let in, and until the destination has received all bytes
 * that the source sent. */
void lanes_pair_await_lanes(struct lanes_pair *pair, unsigned lanes);
void lanes_pair_await_bytes(struct lanes_pair *pair);
