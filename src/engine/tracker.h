/*
 * The dirty tracker: which pages of another process's shared memory were written, from outside it.
 *
 * Two sources of truth. A userfaultfd of the target in asynchronous write-protect mode with
 * PAGEMAP_SCAN (Linux 6.7; Documentation/admin-guide/mm/pagemap.rst) says what was written; one
 * UFFDIO_WRITEPROTECT over everything first makes it exact to 4 KiB on huge pages too. SEEK_DATA on
 * the file says what was given back (balloon, free-page reporting: hole punching is not reported as
 * a write).
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "engine/page_set.h"

struct engine_tracker {
    int userfaultfd;           /* the target's own; borrowed */
    int pagemap;               /* /proc/PID/pagemap of the target; borrowed */
    int memory_fd;             /* the RAM file; borrowed */
    uint64_t address;          /* where the target maps the file's offset 0 */
    uint64_t memory_size;      /* bytes */
    struct page_set populated; /* extents at the last look, to tell what became a hole */
    void *regions;             /* scan results, reused */
};

/* Fills the fields above; the descriptors stay the caller's. 0 or -errno. */
int engine_tracker_init(struct engine_tracker *tracker, int userfaultfd, int pagemap, int memory_fd,
                        uint64_t address, uint64_t memory_size, struct error *err);
void engine_tracker_done(struct engine_tracker *tracker);

/* As engine_source_guest_operations says. start may be called again after stop (a later move). */
int engine_tracker_start(struct engine_tracker *tracker, struct error *err);
void engine_tracker_stop(struct engine_tracker *tracker);
int engine_tracker_collect_populated(struct engine_tracker *tracker, struct page_set *pages,
                                     struct error *err);
int engine_tracker_collect_dirty(struct engine_tracker *tracker, struct page_set *dirty,
                                 struct page_set *dropped, struct error *err);
