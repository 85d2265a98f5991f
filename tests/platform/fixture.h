/* A guest of 4 KiB or huge pages under a tracker: what most of the memory tests start from. */
#pragma once

#include "guest.h"
#include "tracker.h"

struct fixture {
    struct guest guest;
    struct tracker tracker;
    int ram;
    size_t pages;
    uint8_t *written;  /* filled by fixture_scan() */
    uint8_t *expected; /* the test marks the pages it wrote */
};

/*
 * Makes the RAM file `name`, a guest of `pages` pages on it, and a tracker over it. Nothing is
 * scanned yet.
 */
void fixture_start(struct fixture *fixture, const char *name, size_t pages);
void fixture_stop(struct fixture *fixture);

/* The guest writes the pages, and they are marked as expected. */
void fixture_write(struct fixture *fixture, size_t first, size_t count, size_t stride);

/* Marks pages as expected without writing them. */
void fixture_expect(struct fixture *fixture, size_t first, size_t count, size_t stride);

/* Scans into `written`. Returns the number of pages. */
size_t fixture_scan(struct fixture *fixture);

/* Scans, fails unless exactly the expected pages were reported, and forgets them. */
void fixture_assert_exact(struct fixture *fixture);

/* Scans, fails if an expected page was not reported; returns how many were reported. */
size_t fixture_assert_none_missed(struct fixture *fixture);
