/*
 * Disk images, made and examined. What an image says about itself is never trusted: one that names
 * another file (a backing file, an external data file, extents) could read any file of the host
 * into a guest, and is refused. qemu-img is run with exactly the descriptors it needs.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define DISK_SIZE_LEAST (1ULL << 20)
#define DISK_SIZE_MOST (64ULL << 40)

/* An image on this host that is to be copied; opened and examined. */
struct disk_import {
    int fd;                  /* owned; -1: none */
    const char *path;        /* borrowed */
    char format[16];         /* as detected */
    uint64_t required_bytes; /* what the copy takes at most */
};

/* Examines the image at an absolute path, to be copied into one of format "qcow2" or "raw". */
int disk_import_open(struct disk_import *import, const char *path, const char *target_format,
                     struct error *err);
void disk_import_done(struct disk_import *import);

/* Creates an empty image of `size_bytes`, or copies an import, at `path`, which must not exist.
 * Durable on return. A failure may leave a part of it. */
int disk_image_create(const char *path, const char *format, uint64_t size_bytes, struct error *err);
int disk_image_copy(const struct disk_import *import, const char *path, const char *format,
                    struct error *err);

/* Checks the header of an open image that is to be used as qcow2: refuses what is none, and what
 * names a backing or an external data file or is encrypted. `what` names it in errors. */
int disk_image_check_qcow2(int fd, const char *what, struct error *err);
