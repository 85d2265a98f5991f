/*
 * Where the beats of heartbeat.h are on a datastore, for each kind of lease that has any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "storage/datastore.h"
#include "storage/disk_record.h"

#define BEAT_FOLDER ".drover/hosts" /* below the datastore's folder; a file a host */

/* What a look at a host's beat found. */
struct beat {
    bool present;                    /* there is something in its place */
    bool valid;                      /* and it is a beat of that host on that datastore */
    uint8_t bytes[DISK_RECORD_SIZE]; /* zeroes where it is not valid */
};

/* Kind file. Opens a host's beat below the datastore's open folder: a descriptor, or -ENOENT.
 * `flags` are open(2)'s. */
int beat_file_open(const struct datastore *datastore, int root, const char *host, int flags,
                   struct error *err);

/* Makes the file, empty, and its folders. A descriptor, or -EEXIST. */
int beat_file_create(const struct datastore *datastore, int root, const char *host,
                     struct error *err);

/* Reads an open file; one that holds no beat of `host` is not valid. ret_record may be NULL.
 * -ENOTSUP when a newer Drover wrote it. */
int beat_file_read(const struct datastore *datastore, int fd, const char *host,
                   struct beat *ret_beat, struct disk_heartbeat *ret_record, struct error *err);
