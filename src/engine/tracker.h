/*
 * The dirty tracker: which pages of another process's shared memory were written, from outside it.
 *
 * Two sources of truth. A userfaultfd of the target in asynchronous write-protect mode with
 * PAGEMAP_SCAN (Linux 6.7; Documentation/admin-guide/mm/pagemap.rst) says what was written; one
 * UFFDIO_WRITEPROTECT over everything first makes it exact to 4 KiB on huge pages too.
 *
 * Pages given back (balloon, free-page reporting) become zeroes without a write. Nor need they be
 * holes when we look: one read by the guest, or one write nearby where pages are huge, fills a hole
 * with zeroes that nothing reports. But every fallocate(2) on the file, MADV_REMOVE's included, is
 * an inotify event, and writes through a mapping are none. So while there is no event nothing was
 * given back; after one, SEEK_DATA tells the holes, and a look at the content the zeroes. Where the
 * file cannot be watched every collection looks.
 *
 * Nor need holes be scanned, which is most of the time with a guest that is mostly empty: a page
 * in a hole was not written, and one that is written later is data and unprotected. Where finding
 * the holes takes less than scanning them (huge pages), they are left out.
 *
 * Where writers are paced (pacer.h) a second, synchronous userfaultfd has the pages, and what it
 * notes is collected along with what the scan finds: tracker_pace.c.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/kernel.h"
#include "engine/pacer.h"
#include "engine/page_set.h"

struct engine_tracker {
    int userfaultfd;             /* the target's own; borrowed */
    int pagemap;                 /* /proc/PID/pagemap of the target; borrowed */
    int memory_fd;               /* the RAM file; borrowed */
    uint64_t address;            /* where the target maps the file's offset 0 */
    uint64_t memory_size;        /* bytes */
    struct page_set populated;   /* pages that may hold data, to tell what became a hole */
    struct page_set written;     /* scratch of a collection */
    struct page_set extents;     /* likewise */
    struct page_region *regions; /* scan results, reused: TRACKER_REGIONS for each part */
    const uint8_t *memory;       /* our own mapping of the RAM file, to look for zeroes */
    int watch;                   /* inotify on the RAM file; -1: it cannot be watched */
    bool leaves_out_holes;       /* scans do: it pays */
    unsigned threads;            /* for a walk over much memory, one for every ... */
    uint64_t part_pages;
    bool can_pace; /* engine_tracker_set_pacer() succeeded */
    struct pacer pacer;
    struct page_set unseen; /* what may have been written while it changed hands */
};

/* Fills the fields above, without a watch; the descriptors stay the caller's. 0 or -errno. */
int engine_tracker_init(struct engine_tracker *tracker, int userfaultfd, int pagemap, int memory_fd,
                        uint64_t address, uint64_t memory_size, struct error *err);
void engine_tracker_done(struct engine_tracker *tracker);

/* From now on walks over memory use up to so many threads, one for every `part_pages`, at least 1;
 * one until told. */
void engine_tracker_use_threads(struct engine_tracker *tracker, unsigned threads,
                                uint64_t part_pages);

/* An inotify that reports IN_MODIFY of the RAM file, for set_watch(). Made by a process that may
 * open the file by its name in /proc, which the one that tracks it need not be. */
int engine_tracker_make_watch(int memory_fd, struct error *err);

/* Takes over a watch. Without one every collection looks for zeroes in all of memory. */
void engine_tracker_set_watch(struct engine_tracker *tracker, int watch);

/* As engine_source_guest_operations says. start may be called again after stop (a later move). */
int engine_tracker_start(struct engine_tracker *tracker, struct error *err);
void engine_tracker_stop(struct engine_tracker *tracker);
int engine_tracker_collect_populated(struct engine_tracker *tracker, struct page_set *pages,
                                     struct error *err);
int engine_tracker_collect_dirty(struct engine_tracker *tracker, struct page_run within,
                                 const struct page_set *skip, struct page_set *dirty,
                                 struct page_set *dropped, struct error *err);

/* Makes pacing possible: `userfaultfd` is another of the target's own, made for this move, not used
 * yet, of which nobody else holds a descriptor (see pacer.h); it stays the caller's. The target's
 * thread `spared_thread` (0: none) never waits. */
int engine_tracker_set_pacer(struct engine_tracker *tracker, int userfaultfd, pid_t spared_thread,
                             struct error *err);

/* As engine_source_guest_operations says. Pacing works in units of 2 MiB: all that share one with
 * `where` are paced; so are the gaps between them when there would be more than 1,024 ranges. */
int engine_tracker_pace(struct engine_tracker *tracker, const struct page_set *where,
                        uint64_t bytes_per_second, struct error *err);
void engine_tracker_end_pace(struct engine_tracker *tracker);
uint64_t engine_tracker_waited_ns(struct engine_tracker *tracker);

/* Lets writers go on at once from now on; what they write is reported as before. For the time in
 * which the guest's last I/O ends. */
void engine_tracker_hasten(struct engine_tracker *tracker);
