/* Files and folders: whole-file reads with a bound, crash-safe writes, paths that cannot escape. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* Reads a whole file of at most `limit` bytes into an empty buffer; a terminator follows the
 * content (not counted in length). -EFBIG when it is larger. */
int file_read(const char *path, size_t limit, struct buffer *ret_content, struct error *err);

/* The same from an open descriptor, from its offset on; `what` names it in errors. */
int file_read_fd(int fd, const char *what, size_t limit, struct buffer *ret_content,
                 struct error *err);

/* Writes all bytes; 0 or a negative errno. */
int file_write_all(int fd, const void *bytes, size_t length);

/* Opens for reading a file or block device that a user named by its absolute path; refuses what
 * else the path may lead to, without waiting for it (a pipe, a terminal). Returns a descriptor. */
int file_open_data(const char *path, struct error *err);

/* Replaces `path` atomically: temporary file, fsync, rename, fsync of the folder. */
int file_write_atomic(const char *path, const void *bytes, size_t length, mode_t mode,
                      struct error *err);

/* Creates a folder and its parents; existing ones are left as they are. */
int file_make_folders(const char *path, mode_t mode, struct error *err);

/* Removes a file, or a folder with all below it, without following links. Missing is success. */
int file_remove_tree(const char *path, struct error *err);

/* Opens `relative` below the folder `root`, refusing "..", absolute paths and links on the way
 * (openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS). Returns a descriptor, -EXDEV or -ELOOP for
 * a path that leaves. `flags` are open(2)'s; O_CLOEXEC is added. */
int file_open_beneath(const char *root, const char *relative, int flags, mode_t mode,
                      struct error *err);

/* The same below an open folder, which `what` names in errors. */
int file_open_beneath_at(int root, const char *what, const char *relative, int flags, mode_t mode,
                         struct error *err);

/* Whether a name may be a single path component chosen by a user: 1 to 63 of [A-Za-z0-9._-], not
 * beginning with a dot or a dash. */
bool file_name_is_safe(const char *name);

struct file_extent {
    uint64_t begin; /* bytes */
    uint64_t end;
};

/* The first stretch of data, not hole, that begins at `from` or later and before `size`; it ends at
 * `size` at the latest. 1, 0 when there is none, or a negative errno. */
int file_next_data(int fd, uint64_t from, uint64_t size, struct file_extent *ret_extent);

/* A formatted path in memory that the caller frees; NULL without memory. */
char *file_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
