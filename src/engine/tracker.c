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

#define HOLE_SCAN_NS 4u /* what scanning a page of a hole takes, at least */

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
                                       .watch = -1,
                                       .threads = 1,
                                       .part_pages = UINT64_MAX};
    void *memory = mmap(NULL, memory_size, PROT_READ, MAP_SHARED, memory_fd, 0);
    if (memory == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map the guest's memory to look for zeroes");
    }
    tracker->memory = memory;
    tracker->regions =
        calloc((size_t)TRACKER_PARTS_MOST * TRACKER_REGIONS, sizeof(*tracker->regions));
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

void engine_tracker_use_threads(struct engine_tracker *tracker, unsigned threads,
                                uint64_t part_pages)
{
    tracker->threads = threads;
    tracker->part_pages = part_pages;
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
    if (ioctl(tracker->userfaultfd, UFFDIO_REGISTER, &range) < 0) {
        error_set_errno(err, errno, "cannot track the guest's memory with userfaultfd");
        return error_remedy(err, "this needs Linux 6.7 or later");
    }
    int result = tracker_protect(tracker, run, err);
    if (result < 0) {
        tracker_unregister(tracker, run);
    }
    return result;
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
    bool in_extents = is_all(tracker, within) && tracker->leaves_out_holes;
    int result = in_extents ? find_all_extents(tracker, err) : 0;
    if (result == 0) {
        result = tracker_scan(tracker, within, skip, in_extents, err);
    }
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
