/*
 * When a writer may go on: one page after another at a given rate, as a schedule. What a late
 * waker missed is made up for within a short credit, so that the rate is kept by a sleeper whose
 * timer is coarse; and nobody waits longer than a bound, whatever the rate.
 */
#pragma once

#include <stdint.h>

/* The longest that a writer waits for one page: a main loop, a spinning guest and its watchdogs
 * bear it. Hence no rate is lower than 50 pages a second for each writer. */
#define THROTTLE_LONGEST_WAIT_NS 20000000u

struct throttle {
    uint64_t page_ns; /* from one page to the next */
    uint64_t due_ns;  /* the next page's time */
};

/* UINT64_MAX: nobody waits. */
void throttle_set(struct throttle *throttle, uint64_t bytes_per_second);

/* When the writer that came at `arrived_ns`, and is the first in the queue, may go on. */
uint64_t throttle_due_ns(const struct throttle *throttle, uint64_t arrived_ns);

/* How many pages may go at once without harm to the rate; at least 1. */
uint64_t throttle_batch(const struct throttle *throttle);

/* `pages` were let go at `now_ns`. */
void throttle_charge(struct throttle *throttle, uint64_t pages, uint64_t now_ns);
