/* The dirty tracker: see tracker.h. */
#include "engine/tracker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/guest.h"
#include "engine/zero.h"

#define REGIONS_MOST 16384u /* of one PAGEMAP_SCAN call; it is resumed where it stopped */
#define SKIP_LEAST 256u     /* pages; scanning fewer of them costs less than another call */

static int watch_file(int fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CLEANUP_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0) {
        return -1;
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
        page_set_init(&tracker->written, pages) < 0 ||
        page_set_init(&tracker->extents, pages) < 0) {
        engine_tracker_done(tracker);
        return error_set(err, ENOMEM, "no memory to track the guest's %llu pages",
                         (unsigned long long)pages);
    }
    tracker->watch = watch_file(memory_fd);
    return 0;
}

void engine_tracker_done(struct engine_tracker *tracker)
{
    if (tracker->memory) {
        munmap((void *)tracker->memory, tracker->memory_size);
        close_fd(&tracker->watch);
    }
    free(tracker->regions);
    page_set_done(&tracker->populated);
    page_set_done(&tracker->written);
    page_set_done(&tracker->extents);
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

/* Protects everything, mapped or not, and splits huge mappings: 4 KiB entries from here on. */
static int protect_all(struct engine_tracker *tracker)
{
    struct uffdio_writeprotect protect = {
        .range = {.start = tracker->address, .len = tracker->memory_size},
        .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    int result;
    do {
        result = ioctl(tracker->userfaultfd, UFFDIO_WRITEPROTECT, &protect);
    } while (result < 0 && errno == EAGAIN);
    return result < 0 ? -errno : 0;
}

int engine_tracker_start(struct engine_tracker *tracker, struct error *err)
{
    struct uffdio_register range = {
        .range = {.start = tracker->address, .len = tracker->memory_size},
        .mode = UFFDIO_REGISTER_MODE_WP};
    int result = enable(tracker, err);
    if (result < 0) {
        return result;
    }
    if (ioctl(tracker->userfaultfd, UFFDIO_REGISTER, &range) < 0) {
        error_set_errno(err, errno, "cannot track the guest's memory with userfaultfd");
        return error_remedy(err, "this needs Linux 6.7 or later");
    }
    result = protect_all(tracker);
    if (result < 0) {
        engine_tracker_stop(tracker);
        return error_set_errno(err, result, "cannot write-protect the guest's memory");
    }
    page_set_clear(&tracker->populated);
    return 0;
}

void engine_tracker_stop(struct engine_tracker *tracker)
{
    struct uffdio_range range = {.start = tracker->address, .len = tracker->memory_size};
    ioctl(tracker->userfaultfd, UFFDIO_UNREGISTER, &range); /* fails when the target is gone */
}

/* Adds the file's data extents. The file, not the page table: data need not be mapped. */
static int find_extents(struct engine_tracker *tracker, struct page_set *pages, struct error *err)
{
    off_t end = 0, size = (off_t)tracker->memory_size;
    while (end < size) {
        off_t begin = lseek(tracker->memory_fd, end, SEEK_DATA);
        if (begin < 0 && errno == ENXIO) {
            return 0;
        }
        end = begin < 0 ? -1 : lseek(tracker->memory_fd, begin, SEEK_HOLE);
        if (end < 0) {
            return error_set_errno(err, errno, "cannot walk the extents of the guest's memory");
        }
        uint64_t first = (uint64_t)begin / ENGINE_PAGE_SIZE;
        uint64_t after =
            ((uint64_t)(end < size ? end : size) + ENGINE_PAGE_SIZE - 1) / ENGINE_PAGE_SIZE;
        if (first < after) {
            page_set_add(pages, (struct page_run){first, after - first});
        }
    }
    return 0;
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

int engine_tracker_collect_populated(struct engine_tracker *tracker, struct page_set *pages,
                                     struct error *err)
{
    was_punched(tracker); /* before this look does not matter */
    page_set_clear(&tracker->extents);
    int result = find_extents(tracker, &tracker->extents, err);
    if (result < 0) {
        return result;
    }
    page_set_unite(&tracker->populated, &tracker->extents);
    page_set_unite(pages, &tracker->extents);
    return 0;
}

/* Collects and protects a run in one walk, resumed while the vector fills up. */
static int scan(struct engine_tracker *tracker, struct page_run run, struct error *err)
{
    uint64_t start = tracker->address + run.first * ENGINE_PAGE_SIZE;
    uint64_t end = start + run.count * ENGINE_PAGE_SIZE;
    struct pm_scan_arg argument = {.size = sizeof(argument),
                                   .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
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
            page_set_add(&tracker->written,
                         (struct page_run){(region->start - tracker->address) / ENGINE_PAGE_SIZE,
                                           (region->end - region->start) / ENGINE_PAGE_SIZE});
        }
        argument.start = argument.walk_end;
    }
    return 0;
}

/* The first run of `skip` in [from, end) that is worth two walks in place of one; an empty one at
 * `end` when there is none. What is left in is scanned, and thus reported. */
static struct page_run next_skipped(const struct page_set *skip, uint64_t from, uint64_t end)
{
    struct page_run run;
    while (skip && from < end && page_set_next_run(skip, from, end - from, &run) &&
           run.first < end) {
        from = run.first + run.count;
        if (run.count >= SKIP_LEAST) {
            run.count = (from < end ? from : end) - run.first;
            return run;
        }
    }
    return (struct page_run){end, 0};
}

/* Scans a run, but for what is to be skipped. */
static int scan_around(struct engine_tracker *tracker, struct page_run within,
                       const struct page_set *skip, struct error *err)
{
    uint64_t page = within.first, end = within.first + within.count;
    int result = 0;
    while (result == 0 && page < end) {
        struct page_run skipped = next_skipped(skip, page, end);
        if (skipped.first > page) {
            result = scan(tracker, (struct page_run){page, skipped.first - page}, err);
        }
        page = skipped.first + skipped.count;
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
    page_set_clear(&tracker->extents);
    int result = find_extents(tracker, &tracker->extents, err);
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

/* Adds the pages of `within` that were written to `pages`. */
static void add_written(const struct engine_tracker *tracker, struct page_run within,
                        struct page_set *pages)
{
    uint64_t end = within.first + within.count;
    struct page_run run;
    for (uint64_t page = within.first;
         page < end && page_set_next_run(&tracker->written, page, end - page, &run) &&
         run.first < end;
         page = run.first + run.count) {
        run.count = run.count < end - run.first ? run.count : end - run.first;
        page_set_add(pages, run);
    }
}

int engine_tracker_collect_dirty(struct engine_tracker *tracker, struct page_run within,
                                 const struct page_set *skip, struct page_set *dirty,
                                 struct page_set *dropped, struct error *err)
{
    bool all = within.count == tracker->memory_size / ENGINE_PAGE_SIZE;
    page_set_remove(&tracker->written, within);
    int result = scan_around(tracker, within, skip, err);
    if (result == 0 && all && was_punched(tracker)) {
        result = find_dropped(tracker, dropped, err);
    } else if (result == 0) {
        add_written(tracker, within, &tracker->populated);
    }
    if (result == 0) {
        add_written(tracker, within, dirty);
    }
    return result;
}
