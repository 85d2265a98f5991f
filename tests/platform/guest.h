/*
 * A child process that stands for QEMU: it maps a RAM file, makes a userfaultfd, and touches its
 * memory when told to, in lockstep with the test.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct guest {
    pid_t pid;
    int channel;
    int ram;          /* the RAM file, borrowed */
    size_t size;      /* bytes, a multiple of the page */
    uint64_t address; /* of the RAM in the child */
    int userfaultfd;  /* the child's descriptor number, or -errno if it could not make one */
    int pacing;       /* of another userfaultfd, likewise */
};

/* Starts the child over `ram`, a file of `size` bytes. */
void guest_start(struct guest *guest, int ram, size_t size);

/* Kills the child. Takes a guest that was never started. */
void guest_stop(struct guest *guest);

/* Writes one byte into `count` pages, from page `first` on, `stride` pages apart. */
void guest_write(struct guest *guest, size_t first, size_t count, size_t stride);

/* The same, but returns at once; guest_is_busy() tells when it is done. */
void guest_begin_write(struct guest *guest, size_t first, size_t count, size_t stride);

/* Reads one byte of each such page. */
void guest_touch(struct guest *guest, size_t first, size_t count, size_t stride);

/*
 * The child calls read(fd) into its RAM at `offset`; `fd` was open when it was started. Returns the
 * count or -errno.
 */
long guest_read(struct guest *guest, int fd, size_t offset, size_t length);

/* Begins one, like guest_begin_write(). */
void guest_begin_read(struct guest *guest, int fd, size_t offset, size_t length);

/* The same with preadv() from the start of a file, into two parts one page apart. */
long guest_preadv(struct guest *guest, int fd, size_t offset, size_t length);

/* The child calls madvise(advice) on `count` pages from `first` on. Returns 0 or -errno. */
long guest_advise(struct guest *guest, int advice, size_t first, size_t count);

/* The child closes one of its descriptors. */
void guest_close(struct guest *guest, int fd);

/* Sets the child writing `writes` times all over its RAM, unobserved, while the test goes on. */
void guest_hammer(struct guest *guest, size_t writes);

/* Whether it is still at what was begun. Once false, the guest takes orders again. */
bool guest_is_busy(struct guest *guest);
