/*
 * The pacer: makes those who write to parts of another process's memory wait, so that they dirty no
 * more of it than a link carries.
 *
 * Theory of operation. Paced ranges are registered with a userfaultfd of the target in
 * *synchronous* write-protect mode: who writes to a protected page sleeps in the kernel until we
 * answer. A thread reads these faults, and answers each when the throttle says so: it takes the
 * protection off, which wakes the writer, and notes the page. Noted pages are what the next
 * collection reports; it protects them again. While a page is noted, writing it costs nothing.
 * Writers that go through memory in order are let go some pages at once: as many as lie noted
 * before the page that they want, like read-ahead.
 *
 * Noting a page and taking its protection off are one step under the lock, and so are un-noting and
 * protecting: at each moment a paced page is protected, or it will be reported.
 *
 * The kernel wakes all waiters, and ends all registrations, when the last descriptor of the
 * userfaultfd is closed. Hence nobody but this process may hold one: should it die at any moment,
 * the guest runs on. Source: Documentation/admin-guide/mm/userfaultfd.rst of Linux.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "engine/page_set.h"
#include "engine/throttle.h"

#define PACER_WAITING_MOST 256u

struct pacer_fault {
    uint64_t page;
    uint64_t arrived_ns;
    bool spared;
};

struct pacer {
    int userfaultfd; /* the target's, without UFFD_FEATURE_WP_ASYNC; borrowed */
    uint64_t address;
    uint64_t pages;
    pid_t spared_thread;
    int doorbell; /* eventfd: there is news for the thread */
    bool started;
    bool doubtful; /* pages may have lost their protection without a fault: the tracker's to set */
    pthread_t thread;
    struct pacer_fault waiting[PACER_WAITING_MOST]; /* the thread's own: oldest first */
    size_t waiting_count;

    pthread_mutex_t lock; /* guards the rest; no other lock is taken under it */
    struct page_set paced;
    struct page_set noted; /* not protected, or to be reported for another reason */
    struct throttle throttle;
    uint64_t waited_ns;
    bool ending;
};

/* `userfaultfd` of a process that has `pages` pages at `address`; made for this pacer alone, and
 * not yet used. It stays the caller's. The thread `spared_thread` of the process (0: none) never
 * waits: the others do so for what it writes. 0 or -errno. */
int pacer_init(struct pacer *pacer, int userfaultfd, uint64_t address, uint64_t pages,
               pid_t spared_thread, struct error *err);
/* Ends what was not ended. */
void pacer_done(struct pacer *pacer);

/* Starts the thread; nothing is paced yet. Once it runs this does nothing. */
int pacer_start(struct pacer *pacer, struct error *err);

/* How fast pages may be dirtied from now on; UINT64_MAX: as fast as faults are answered. Takes
 * effect for those who wait, too. */
void pacer_set_rate(struct pacer *pacer, uint64_t bytes_per_second);

/* Paces a run that is registered with no other userfaultfd. What was written to it before is not
 * known, and it is protected from here on. On failure the run is not paced. */
int pacer_take(struct pacer *pacer, struct page_run run, struct error *err);

/* Ends pacing of a run: registered with nobody, nobody waits. Adds to `pages` what was noted. */
void pacer_give_back(struct pacer *pacer, struct page_run run, struct page_set *pages);

/* Adds to `pages` the noted pages of `within` that are not in `skip` (may be NULL), and protects
 * them again. */
int pacer_collect(struct pacer *pacer, struct page_run within, const struct page_set *skip,
                  struct page_set *pages, struct error *err);

/* Notes the pages of `within` that are in `pages`, all of them paced: they were written though
 * nobody let them go. */
void pacer_note(struct pacer *pacer, struct page_run within, const struct page_set *pages);

/* Ends the thread; everything must have been given back. */
void pacer_stop(struct pacer *pacer);

/* How long writers have waited, all together; until each went on. */
uint64_t pacer_waited_ns(struct pacer *pacer);
