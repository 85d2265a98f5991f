/*
 * What was written, out of the target's page tables.
 *
 * A walk takes a few nanoseconds a page, which for a large guest comes to a good part of the
 * blackout. So large stretches are cut, and several threads walk the parts: the kernel locks one
 * page table at a time. Parts end where huge pages do, so that no two of them share a word of a set
 * of pages.
 */
#include "engine/tracker_internal.h"

#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/parallel.h"

#define SKIP_LEAST 256u     /* pages; scanning fewer of them costs less than another call */
#define PARTS_A_THREAD 4u   /* some parts hold more than others */
#define PART_ALIGNMENT 512u /* pages */

/* What is done to each part of a stretch, at the same time. */
struct job {
    struct engine_tracker *tracker;
    const struct page_set *skip; /* NULL: nothing */
    int (*work)(const struct job *job, struct page_run part, struct page_region *regions,
                struct error *err);
    struct page_run parts[TRACKER_PARTS_MOST];
    int results[TRACKER_PARTS_MOST];
    struct error errors[TRACKER_PARTS_MOST];
};

/* Where a part of a run begins: at a multiple of the alignment, but for the run's own ends. */
static uint64_t part_begin(struct page_run run, unsigned part, unsigned count)
{
    uint64_t page = run.first + run.count * part / count;
    uint64_t aligned = page - page % PART_ALIGNMENT;
    return part == 0 || aligned < run.first ? run.first : part == count ? page : aligned;
}

static unsigned cut(struct job *job, struct page_run run)
{
    unsigned threads = job->tracker->threads;
    unsigned most = threads > 1 ? threads * PARTS_A_THREAD : 1;
    most = most < TRACKER_PARTS_MOST ? most : TRACKER_PARTS_MOST;
    uint64_t worth = run.count / job->tracker->part_pages;
    unsigned count = worth < 1 ? 1 : worth < most ? (unsigned)worth : most;
    for (unsigned i = 0; i < count; i++) {
        uint64_t first = part_begin(run, i, count);
        job->parts[i] = (struct page_run){first, part_begin(run, i + 1, count) - first};
    }
    return count;
}

static void do_part(void *context, unsigned part)
{
    struct job *job = context;
    job->errors[part] = ERROR_NONE;
    job->results[part] =
        job->work(job, job->parts[part], job->tracker->regions + (size_t)part * TRACKER_REGIONS,
                  &job->errors[part]);
}

/* The first failure, if any, once all parts are done. */
static int do_job(struct job *job, struct page_run run, struct error *err)
{
    unsigned count = cut(job, run);
    parallel_run(job->tracker->threads, count, do_part, job);
    for (unsigned i = 0; i < count; i++) {
        if (job->results[i] < 0) {
            if (err) {
                *err = job->errors[i];
            }
            return job->results[i];
        }
    }
    return 0;
}

static int protect_part(const struct job *job, struct page_run part, struct page_region *regions,
                        struct error *err)
{
    struct uffdio_writeprotect protect = {.range = tracker_range(job->tracker, part),
                                          .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    int result;
    (void)regions;
    do {
        result = ioctl(job->tracker->userfaultfd, UFFDIO_WRITEPROTECT, &protect);
    } while (result < 0 && errno == EAGAIN);
    return result < 0 ? error_set_errno(err, errno, "cannot write-protect the guest's memory") : 0;
}

int tracker_protect(struct engine_tracker *tracker, struct page_run run, struct error *err)
{
    struct job job; /* not to be zeroed: it is large */
    job.tracker = tracker;
    job.work = protect_part;
    return do_job(&job, run, err);
}

/* In one walk, resumed while the vector fills up. */
static int walk(const struct engine_tracker *tracker, struct page_region *regions,
                struct page_run run, uint64_t flags, struct page_set *pages, struct error *err)
{
    uint64_t start = tracker->address + run.first * ENGINE_PAGE_SIZE;
    uint64_t end = start + run.count * ENGINE_PAGE_SIZE;
    struct pm_scan_arg argument = {.size = sizeof(argument),
                                   .flags = flags,
                                   .start = start,
                                   .end = end,
                                   .vec = (uintptr_t)regions,
                                   .vec_len = TRACKER_REGIONS,
                                   .category_mask = PAGE_IS_WRITTEN,
                                   .return_mask = PAGE_IS_WRITTEN};
    while (argument.start < end) {
        int count = ioctl(tracker->pagemap, PAGEMAP_SCAN, &argument);
        if (count < 0) {
            return error_set_errno(err, errno, "cannot scan the guest's memory for writes");
        }
        for (int i = 0; i < count; i++) {
            page_set_add(pages,
                         (struct page_run){(regions[i].start - tracker->address) / ENGINE_PAGE_SIZE,
                                           (regions[i].end - regions[i].start) / ENGINE_PAGE_SIZE});
        }
        argument.start = argument.walk_end;
    }
    return 0;
}

/* Adds to `written` what was written in a run since the last time, and protects it again. */
static int scan(struct engine_tracker *tracker, struct page_region *regions, struct page_run run,
                struct error *err)
{
    return walk(tracker, regions, run, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
                &tracker->written, err);
}

int tracker_find_unprotected(struct engine_tracker *tracker, struct page_run run,
                             struct page_set *pages, struct error *err)
{
    return walk(tracker, tracker->regions, run, 0, pages, err);
}

/* The first run in [from, end) that is not to be scanned: the pacer's, or one of `skip` that is
 * worth two walks in place of one; an empty one at `end` when there is none. What is left of
 * `skip` is scanned, and thus reported. */
static struct page_run next_left_out(const struct engine_tracker *tracker,
                                     const struct page_set *skip, uint64_t from, uint64_t end)
{
    struct page_run paced = {end, 0}, run, rest = {from, end - from};
    if (tracker->can_pace) {
        page_set_next_run_within(&tracker->pacer.paced, rest, UINT64_MAX, &paced);
    }
    rest.count = paced.first - from;
    while (skip && page_set_next_run_within(skip, rest, UINT64_MAX, &run)) {
        if (run.count >= SKIP_LEAST) {
            return run;
        }
        rest.first = run.first + run.count;
        rest.count = paced.first - rest.first;
    }
    return paced;
}

/* Scans a run, but for what is to be left out. */
static int scan_around(const struct job *job, struct page_run within, struct page_region *regions,
                       struct error *err)
{
    uint64_t page = within.first, end = within.first + within.count;
    int result = 0;
    while (result == 0 && page < end) {
        struct page_run left_out = next_left_out(job->tracker, job->skip, page, end);
        if (left_out.first > page) {
            result =
                scan(job->tracker, regions, (struct page_run){page, left_out.first - page}, err);
        }
        page = left_out.first + left_out.count;
    }
    return result;
}

/* The first run of `extents` in `within`, with the gaps that are not worth two walks. */
static bool next_extent(const struct page_set *extents, struct page_run within,
                        struct page_run *ret_run)
{
    struct page_run next;
    uint64_t last = within.first + within.count;
    if (!page_set_next_run_within(extents, within, UINT64_MAX, ret_run)) {
        return false;
    }
    uint64_t end = ret_run->first + ret_run->count;
    while (
        page_set_next_run_within(extents, (struct page_run){end, last - end}, UINT64_MAX, &next) &&
        next.first - end < SKIP_LEAST) {
        end = next.first + next.count;
    }
    ret_run->count = end - ret_run->first;
    return true;
}

/* Scans all but the file's holes. What is written into one makes it data that nobody protected, so
 * that the next scan reports it. */
static int scan_extents(const struct job *job, struct page_run part, struct page_region *regions,
                        struct error *err)
{
    struct page_run run;
    uint64_t end = part.first + part.count;
    int result = 0;
    while (result == 0 && next_extent(&job->tracker->extents, part, &run)) {
        result = scan_around(job, run, regions, err);
        part.first = run.first + run.count;
        part.count = end - part.first;
    }
    return result;
}

int tracker_scan(struct engine_tracker *tracker, struct page_run within,
                 const struct page_set *skip, bool in_extents, struct error *err)
{
    struct job job; /* not to be zeroed: it is large */
    job.tracker = tracker;
    job.skip = skip;
    job.work = in_extents ? scan_extents : scan_around;
    return do_job(&job, within, err);
}
