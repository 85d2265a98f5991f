/* See tracker.h. */
#include "tracker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/kernel.h"
#include "support.h"

#define REGIONS 1024

void tracker_require(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = TRACKER_FEATURES};
    struct pm_scan_arg scan = {.size = sizeof(scan), .return_mask = PAGE_IS_WRITTEN};
    struct utsname system;
    int userfaultfd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    uname(&system);
    if (userfaultfd < 0 || pagemap < 0)
        platform_skip_program("userfaultfd or pagemap is out of reach: %s", strerror(errno));
    if (ioctl(userfaultfd, UFFDIO_API, &api) < 0)
        platform_skip_program("Linux %s has no asynchronous write-protect mode", system.release);
    if (ioctl(pagemap, PAGEMAP_SCAN, &scan) < 0 && errno == ENOTTY)
        platform_skip_program("Linux %s has no PAGEMAP_SCAN", system.release);
    close(userfaultfd);
    close(pagemap);
}

int tracker_take_descriptor(pid_t pid, int number)
{
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    int taken;

    platform_must(process >= 0, "pidfd_open");
    taken = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    platform_must(taken >= 0, "pidfd_getfd");
    close(process);
    return taken;
}

void tracker_open(struct tracker *tracker, pid_t pid, int userfaultfd, uint64_t address,
                  size_t size)
{
    struct uffdio_api api = {.api = UFFD_API, .features = TRACKER_FEATURES};
    struct uffdio_register range = {.range = {.start = address, .len = size},
                                    .mode = UFFDIO_REGISTER_MODE_WP};
    char path[64];

    *tracker = (struct tracker){.address = address, .size = size};
    tracker->userfaultfd = tracker_take_descriptor(pid, userfaultfd);
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
    tracker->pagemap = open(path, O_RDONLY | O_CLOEXEC);
    platform_must(tracker->pagemap >= 0, path);
    platform_must(ioctl(tracker->userfaultfd, UFFDIO_API, &api) == 0, "UFFDIO_API");
    platform_must(ioctl(tracker->userfaultfd, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
}

void tracker_close(struct tracker *tracker)
{
    if (tracker->userfaultfd > 0)
        close(tracker->userfaultfd);
    if (tracker->pagemap > 0)
        close(tracker->pagemap);
    *tracker = (struct tracker){0};
}

static long mark(const struct tracker *tracker, const struct page_region *regions, long count,
                 uint8_t *written)
{
    long pages = 0;

    for (long i = 0; i < count; i++) {
        size_t first = (regions[i].start - tracker->address) / PLATFORM_PAGE;
        size_t length = (regions[i].end - regions[i].start) / PLATFORM_PAGE;

        if (written)
            memset(written + first, 1, length);
        pages += (long)length;
    }
    return pages;
}

long tracker_scan(const struct tracker *tracker, uint8_t *written)
{
    struct page_region regions[REGIONS];
    uint64_t end = tracker->address + tracker->size;
    struct pm_scan_arg scan = {.size = sizeof(scan),
                               .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
                               .start = tracker->address,
                               .end = end,
                               .vec = (uint64_t)regions,
                               .vec_len = REGIONS,
                               .category_mask = PAGE_IS_WRITTEN,
                               .return_mask = PAGE_IS_WRITTEN};
    long pages = 0;

    if (written)
        memset(written, 0, tracker->size / PLATFORM_PAGE);
    for (; scan.start < end; scan.start = scan.walk_end) {
        long count = ioctl(tracker->pagemap, PAGEMAP_SCAN, &scan);

        if (count < 0)
            return -errno;
        pages += mark(tracker, regions, count, written);
    }
    return pages;
}

int tracker_protect(const struct tracker *tracker)
{
    struct uffdio_writeprotect range = {.range = {.start = tracker->address, .len = tracker->size},
                                        .mode = UFFDIO_WRITEPROTECT_MODE_WP};

    return ioctl(tracker->userfaultfd, UFFDIO_WRITEPROTECT, &range) < 0 ? -errno : 0;
}
