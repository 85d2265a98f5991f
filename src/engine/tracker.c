/* The dirty tracker: see tracker.h. */
#include "engine/tracker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine/guest.h"
#include "engine/tracker_internal.h"
#include "engine/zero.h"

#define REGIONS_MOST 16384u /* of one PAGEMAP_SCAN call; it is resumed where it stopped */
#define SKIP_LEAST 256u     /* pages; scanning fewer of them costs less than another call */
#define HOLE_SCAN_NS 4u     /* what scanning a page of a hole takes, at least */

int engine_tracker_make_watch(int memory_fd, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory_fd);
    CLEANUP_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0) {
        return error_set_errno(err, errno, "cannot watch the guest's RAM file");
    }
    return steal_fd(&watch);
}

int engine_tracker_init(struct engine_tracker *tracker, int userfaultfd, int pagemap, int memory_fd,
                        uint64_t address, uint64_t memory_size, struct error *err)
{
    uint64_t pages = memory_size / ENGINE_PAGE_SIZE;
    *tracker = (struct engine_tracker){.userfaultfd = userfaultfd,
                                       .pagemap = pagemap,
                                       .memory_fd = memory_fd,
                                       .address = address,
                                       .memory_size = memory_size,
                                       .watch = -1};
    void *memory = mmap(NULL, memory_size, PROT_READ, MAP_SHARED, memory_fd, 0);
    if (memory == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map the guest's memory to look for zeroes");
    }
    tracker->memory = memory;
    tracker->regions = calloc(REGIONS_MOST, sizeof(*tracker->regions));
    if (!tracker->regions || page_set_init(&tracker->populated, pages) < 0 ||
        page_set_init(&tracker->written, pages) < 0 || page_set_init(&tracker->unseen, pages) < 0 ||
        page_set_init(&tracker->extents, pages) < 0) {
        engine_tracker_done(tracker);
        return error_set(err, ENOMEM, "no memory to track the guest's %llu pages",
                         (unsigned long long)pages);
    }
    return 0;
}

void engine_tracker_done(struct engine_tracker *tracker)
{
    if (tracker->can_pace) {
        pacer_done(&tracker->pacer);
    }
    if (tracker->memory) {
        munmap((void *)tracker->memory, tracker->memory_size);
        close_fd(&tracker->watch);
    }
    free(tracker->regions);
    page_set_done(&tracker->populated);
    page_set_done(&tracker->written);
    page_set_done(&tracker->extents);
    page_set_done(&tracker->unseen);
    *tracker = (struct engine_tracker){.watch = -1};
}

void engine_tracker_set_watch(struct engine_tracker *tracker, int watch)
{
    close_fd(&tracker->watch);
    tracker->watch = watch;
}

/* Once in a userfaultfd's life: that it was done before (EINVAL) is fine. What the kernel lacks
 * shows in the calls that follow. */
static int enable(struct engine_tracker *tracker, struct error *err)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                                         UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
                                         UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC};
    if (ioctl(tracker->userfaultfd, UFFDIO_API, &api) < 0 && errno != EINVAL) {
        return error_set_errno(err, errno, "cannot use the guest's userfaultfd");
    }
    return 0;
}

int tracker_register(struct engine_tracker *tracker, struct page_run run, struct error *err)
{
    struct uffdio_register range = {.range = tracker_range(tracker, run),
                                    .mode = UFFDIO_REGISTER_MODE_WP};
    struct uffdio_writeprotect protect = {.range = range.range,
                                          .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    if (ioctl(tracker->userfaultfd, UFFDIO_REGISTER, &range) < 0) {
        error_set_errno(err, errno, "cannot track the guest's memory with userfaultfd");
        return error_remedy(err, "this needs Linux 6.7 or later");
    }
    int result;
    do {
        result = ioctl(tracker->userfaultfd, UFFDIO_WRITEPROTECT, &protect);
    } while (result < 0 && errno == EAGAIN);
    if (result < 0) {
        error_set_errno(err, errno, "cannot write-protect the guest's memory");
        tracker_unregister(tracker, run);
        return -err->code;
    }
    return 0;
}

void tracker_unregister(struct engine_tracker *tracker, struct page_run run)
{
    struct uffdio_range range = tracker_range(tracker, run);
    ioctl(tracker->userfaultfd, UFFDIO_UNREGISTER, &range); /* fails when the target is gone */
}

int engine_tracker_start(struct engine_tracker *tracker, struct error *err)
{
    int result = enable(tracker, err);
    if (result == 0) {
        result = tracker_register(tracker, tracker_all(tracker), err);
    }
    if (result == 0) {
        page_set_clear(&tracker->populated);
        page_set_clear(&tracker->unseen);
    }
    return result;
}

void engine_tracker_stop(struct engine_tracker *tracker)
{
    engine_tracker_end_pace(tracker);
    tracker_unregister(tracker, tracker_all(tracker));
}

int tracker_find_extents(const struct engine_tracker *tracker, struct page_run within,
                         struct page_set *pages, struct error *err)
{
    uint64_t begin = within.first * ENGINE_PAGE_SIZE;
    uint64_t size = begin + within.count * ENGINE_PAGE_SIZE;
    struct file_extent data = {.end = begin};
    int found;
    while ((found = file_next_data(tracker->memory_fd, data.end, size, &data)) > 0) {
        uint64_t first = data.begin / ENGINE_PAGE_SIZE;
        uint64_t after = (data.end + ENGINE_PAGE_SIZE - 1) / ENGINE_PAGE_SIZE;
        page_set_add(pages, (struct page_run){first, after - first});
    }
    return found < 0 ? error_set_errno(err, found, "cannot walk the extents of the guest's memory")
                     : 0;
}

/* Whether pages may have been given back since the last call. */
static bool was_punched(struct engine_tracker *tracker)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    if (tracker->watch < 0) {
        return true;
    }
    bool any = false;
    while (read(tracker->watch, events, sizeof(events)) > 0) {
        any = true;
    }
    return any;
}

/* All that the file holds, into `extents`. Where pages are huge this walk takes next to nothing,
 * and scans can leave the holes out; where they are small it may take longer than scanning. */
static int find_all_extents(struct engine_tracker *tracker, struct error *err)
{
    uint64_t began_ns = clock_monotonic_ns();
    page_set_clear(&tracker->extents);
    int result = tracker_find_extents(tracker, tracker_all(tracker), &tracker->extents, err);
    uint64_t holes = tracker->extents.pages - page_set_count(&tracker->extents);
    tracker->leaves_out_holes = clock_monotonic_ns() - began_ns < holes * HOLE_SCAN_NS;
    return result;
}

int engine_tracker_collect_populated(struct engine_tracker *tracker, struct page_set *pages,
                                     struct error *err)
{
    was_punched(tracker); /* before this look does not matter */
    int result = find_all_extents(tracker, err);
    if (result < 0) {
        return result;
    }
    page_set_unite(&tracker->populated, &tracker->extents);
    page_set_unite(pages, &tracker->extents);
    return 0;
}

/* In one walk, resumed while the vector fills up. */
static int walk_unprotected(struct engine_tracker *tracker, struct page_run run, uint64_t flags,
                            struct page_set *pages, struct error *err)
{
    uint64_t start = tracker->address + run.first * ENGINE_PAGE_SIZE;
    uint64_t end = start + run.count * ENGINE_PAGE_SIZE;
    struct pm_scan_arg argument = {.size = sizeof(argument),
                                   .flags = flags,
                                   .start = start,
                                   .end = end,
                                   .vec = (uintptr_t)tracker->regions,
                                   .vec_len = REGIONS_MOST,
                                   .category_mask = PAGE_IS_WRITTEN,
                                   .return_mask = PAGE_IS_WRITTEN};
    while (argument.start < end) {
        int count = ioctl(tracker->pagemap, PAGEMAP_SCAN, &argument);
        if (count < 0) {
            return error_set_errno(err, errno, "cannot scan the guest's memory for writes");
        }
        for (int i = 0; i < count; i++) {
            const struct page_region *region = &tracker->regions[i];
            page_set_add(pages,
                         (struct page_run){(region->start - tracker->address) / ENGINE_PAGE_SIZE,
                                           (region->end - region->start) / ENGINE_PAGE_SIZE});
        }
        argument.start = argument.walk_end;
    }
    return 0;
}

int tracker_scan(struct engine_tracker *tracker, struct page_run run, struct error *err)
{
    return walk_unprotected(tracker, run, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
                            &tracker->written, err);
}

int tracker_find_unprotected(struct engine_tracker *tracker, struct page_run run,
                             struct page_set *pages, struct error *err)
{
    return walk_unprotected(tracker, run, 0, pages, err);
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
static int scan_around(struct engine_tracker *tracker, struct page_run within,
                       const struct page_set *skip, struct error *err)
{
    uint64_t page = within.first, end = within.first + within.count;
    int result = 0;
    while (result == 0 && page < end) {
        struct page_run left_out = next_left_out(tracker, skip, page, end);
        if (left_out.first > page) {
            result = tracker_scan(tracker, (struct page_run){page, left_out.first - page}, err);
        }
        page = left_out.first + left_out.count;
    }
    return result;
}

/* The first run of `extents` from `page` on, with the gaps that are not worth two walks. */
static bool next_extent(const struct page_set *extents, uint64_t page, struct page_run *ret_run)
{
    struct page_run next;
    if (!page_set_next_run(extents, page, UINT64_MAX, ret_run)) {
        return false;
    }
    uint64_t end = ret_run->first + ret_run->count;
    while (page_set_next_run(extents, end, UINT64_MAX, &next) && next.first - end < SKIP_LEAST) {
        end = next.first + next.count;
    }
    ret_run->count = end - ret_run->first;
    return true;
}

/* Scans all but the file's holes. What is written into one makes it data that nobody protected, so
 * that the next scan reports it. */
static int scan_extents(struct engine_tracker *tracker, const struct page_set *skip,
                        struct error *err)
{
    struct page_run run;
    int result = find_all_extents(tracker, err);
    for (uint64_t page = 0; result == 0 && next_extent(&tracker->extents, page, &run);
         page = run.first + run.count) {
        result = scan_around(tracker, run, skip, err);
    }
    return result;
}

/* Pages of an extent that nobody wrote, and that are zeroes now. */
static void find_zeroes(const struct engine_tracker *tracker, struct page_set *dropped)
{
    struct page_run run;
    for (uint64_t page = 0; page_set_next_run(&tracker->extents, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        for (uint64_t i = run.first; i < run.first + run.count; i++) {
            if (!page_set_has(&tracker->written, i) &&
                zero_page(tracker->memory + i * ENGINE_PAGE_SIZE)) {
                page_set_add(dropped, (struct page_run){i, 1});
            }
        }
    }
}

/* Pages were given back: what may have held data and is zeroes now is dropped, written before or
 * not. What is written after this look is reported by the next scan, which this one has armed. */
static int find_dropped(struct engine_tracker *tracker, struct page_set *dropped, struct error *err)
{
    int result = find_all_extents(tracker, err);
    if (result < 0) {
        return result;
    }
    page_set_unite(&tracker->populated, &tracker->written);
    page_set_subtract(&tracker->populated, &tracker->extents);
    page_set_unite(dropped, &tracker->populated);
    page_set_intersect(&tracker->written, &tracker->extents);
    find_zeroes(tracker, dropped);
    page_set_clear(&tracker->populated);
    page_set_unite(&tracker->populated, &tracker->extents);
    return 0;
}

static bool is_all(const struct engine_tracker *tracker, struct page_run within)
{
    return within.count == tracker->memory_size / ENGINE_PAGE_SIZE;
}

/* Everything that was written, from whoever knows. */
static int collect_written(struct engine_tracker *tracker, struct page_run within,
                           const struct page_set *skip, struct error *err)
{
    page_set_remove(&tracker->written, within);
    page_set_unite_within(&tracker->written, &tracker->unseen, within);
    int result = is_all(tracker, within) && tracker->leaves_out_holes
                     ? scan_extents(tracker, skip, err)
                     : scan_around(tracker, within, skip, err);
    if (result == 0 && tracker->can_pace) {
        result = tracker_collect_paced(tracker, within, skip, err);
    }
    if (result == 0) {
        page_set_remove(&tracker->unseen, within);
    }
    return result;
}

int engine_tracker_collect_dirty(struct engine_tracker *tracker, struct page_run within,
                                 const struct page_set *skip, struct page_set *dirty,
                                 struct page_set *dropped, struct error *err)
{
    int result = collect_written(tracker, within, skip, err);
    if (result == 0 && is_all(tracker, within) && was_punched(tracker)) {
        tracker_doubt_paced(tracker);
        result = find_dropped(tracker, dropped, err);
    } else if (result == 0) {
        page_set_unite_within(&tracker->populated, &tracker->written, within);
    }
    if (result == 0) {
        page_set_unite_within(dirty, &tracker->written, within);
    }
    return result;
}
