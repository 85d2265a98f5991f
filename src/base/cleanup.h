/*
 * Release on scope exit, and hand-over of what must outlive it.
 *
 *     CLEANUP_FREE char *path = NULL;
 *     CLEANUP_CLOSE int fd = -1;
 *     *ret_fd = steal_fd(&fd);
 *
 * Modelled on the habit of nbdkit (CLEANUP_FREE) and systemd (TAKE_PTR).
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_pointer(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close_fd(const int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline void cleanup_close_file(FILE **file)
{
    if (*file) {
        fclose(*file);
    }
}

static inline void cleanup_close_directory(DIR **directory)
{
    if (*directory) {
        closedir(*directory);
    }
}

#define CLEANUP(function) __attribute__((cleanup(function)))
#define CLEANUP_FREE CLEANUP(cleanup_free_pointer)
#define CLEANUP_CLOSE CLEANUP(cleanup_close_fd)
#define CLEANUP_FILE CLEANUP(cleanup_close_file)
#define CLEANUP_DIRECTORY CLEANUP(cleanup_close_directory)

/* Returns the descriptor and leaves -1 behind, so that the cleanup does nothing. */
static inline int steal_fd(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

/* Returns the pointer and leaves NULL behind. */
#define steal_pointer(pointer)                       \
    __extension__({                                  \
        __typeof__(*(pointer)) stolen_ = *(pointer); \
        *(pointer) = NULL;                           \
        stolen_;                                     \
    })

/* Closes a descriptor that a longer-lived object holds, and marks it closed. */
static inline void close_fd(int *fd)
{
    cleanup_close_fd(fd);
    *fd = -1;
}
