/*
 * Dirty tracking from outside, as drover-mover does it, in its shortest form: the userfaultfd of
 * another process, registered in asynchronous write-protect mode, and PAGEMAP_SCAN.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tracker {
    int userfaultfd;
    int pagemap;
    uint64_t address;
    size_t size;
};

#define TRACKER_FEATURES                                                \
    (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
     UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC)

/*
 * Skips the program unless this kernel has userfaultfd with asynchronous write-protect, and
 * PAGEMAP_SCAN.
 */
void tracker_require(void);

/*
 * Takes descriptor `userfaultfd` of process `pid`, and registers `size` bytes at its `address`. All
 * pages count as written until the first tracker_scan().
 */
void tracker_open(struct tracker *tracker, pid_t pid, int userfaultfd, uint64_t address,
                  size_t size);

/* Takes descriptor `number` of process `pid`. */
int tracker_take_descriptor(pid_t pid, int number);

/* Closes the descriptors. Takes a zeroed tracker. */
void tracker_close(struct tracker *tracker);

/*
 * Sets `written[page]` to 1 for each page written since the last scan, 0 for the others, and
 * protects them again. Returns the number of pages, or -errno. `written` may be NULL. Safe to call
 * in a child process.
 */
long tracker_scan(const struct tracker *tracker, uint8_t *written);

/*
 * Protects the whole range with UFFDIO_WRITEPROTECT, which also splits huge mappings. 0 or -errno.
 */
int tracker_protect(const struct tracker *tracker);
