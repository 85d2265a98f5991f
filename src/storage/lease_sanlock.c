/*
 * Leases under sanlock: see lease.h and lease_kind.h.
 *
 * The file lease.sanlock in a VM's folder has a sanlock resource and, behind it, records of epochs.
 * Whoever takes an epoch holds the resource while he does: he reads the records, writes the next
 * one, and lets go. So nothing is held while a VM runs, and a host's death blocks nobody, unless it
 * died within those milliseconds.
 *
 * Sanlock alone relies on a watchdog: a host that was frozen while it held the resource, so long
 * that others took it over, would go on writing. Here it harms nobody. Each record carries the
 * version of the resource under which it was written, the highest one counts, and a version has a
 * slot of its own (of SLOTS in turn): a late record is behind already. And who has written looks at
 * the version on the storage once more before he believes that he won. Either the frozen host finds
 * it has grown, or whoever took the resource next had yet to read the records, and finds the frozen
 * host's among them.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/disk_record.h"
#include "storage/exclusive_file.h"
#include "storage/lease_kind.h"
#include "storage/lockspace.h"
#include "storage/paxos.h"

#define FILE_NAME "lease.sanlock"
#define SLOTS 16
#define SLOT_SIZE 4096 /* what O_DIRECT can write on any disk; the record is its first sector */

struct slots {
    _Alignas(SLOT_SIZE) uint8_t bytes[SLOTS][SLOT_SIZE];
};

static char *path_of(const struct lease_place *place)
{
    return file_path("%s/%s/" FILE_NAME, place->datastore->path, place->vm);
}

/* ---- records ---- */

static bool is_empty(const uint8_t *slot)
{
    static const uint8_t nothing[DISK_RECORD_SIZE];
    return memcmp(slot, nothing, sizeof(nothing)) == 0;
}

static int read_slots(const struct lease_place *place, int fd, struct slots *ret_slots,
                      struct error *err)
{
    ssize_t length = pread(fd, ret_slots->bytes, sizeof(ret_slots->bytes), LOCKSPACE_AREA_SIZE);
    if (length != (ssize_t)sizeof(ret_slots->bytes)) {
        return error_set_errno(err, length < 0 ? errno : EIO, "cannot read %s/%s/" FILE_NAME,
                               place->datastore->path, place->vm);
    }
    return 0;
}

/* The record that counts; all zeroes when there is none. */
static int read_record(const struct lease_place *place, int fd, struct disk_epoch *ret_record,
                       struct error *err)
{
    struct slots slots;
    struct disk_epoch highest = {0}; /* a record that was adopted has version 0 */
    int result = read_slots(place, fd, &slots, err);
    for (unsigned i = 0; result == 0 && i < SLOTS; i++) {
        struct disk_epoch record;
        if (is_empty(slots.bytes[i])) {
            continue;
        }
        result = disk_epoch_decode(slots.bytes[i], &record, err);
        if (result < 0) {
            error_wrap(err, "%s/%s/" FILE_NAME ", record %u", place->datastore->path, place->vm, i);
        } else if (record.version >= highest.version) {
            highest = record;
        }
    }
    if (result == 0) {
        *ret_record = highest;
    }
    return result;
}

int lease_sanlock_read(const struct lease_place *place, struct lease *ret_lease, struct error *err)
{
    struct disk_epoch record;
    CLEANUP_CLOSE int fd =
        lockspace_open_direct(place->datastore, place->folder, FILE_NAME, O_RDONLY, err);
    if (fd == -ENOENT) {
        *ret_lease = (struct lease){0};
        return 0;
    }
    int result = fd < 0 ? fd : read_record(place, fd, &record, err);
    if (result == 0) {
        *ret_lease = (struct lease){.epoch = record.epoch};
        memcpy(ret_lease->host, record.host, sizeof(ret_lease->host));
    }
    return result;
}

/* ---- the next epoch ---- */

static int write_record(const struct lease_place *place, int fd, const struct disk_epoch *record,
                        struct error *err)
{
    _Alignas(SLOT_SIZE) uint8_t slot[SLOT_SIZE] = {0};
    off_t at = (off_t)LOCKSPACE_AREA_SIZE + (off_t)(record->version % SLOTS * SLOT_SIZE);
    disk_epoch_encode(record, slot);
    ssize_t written = pwrite(fd, slot, sizeof(slot), at);
    if (written != (ssize_t)sizeof(slot)) {
        return error_set_errno(err, written < 0 ? errno : EIO, "cannot write %s/%s/" FILE_NAME,
                               place->datastore->path, place->vm);
    }
    return 0;
}

/* While the resource is held. */
static int take_epoch(const struct lease_place *place, int fd, const struct paxos *paxos,
                      uint64_t after, const char *host, struct error *err)
{
    struct disk_epoch current;
    int result = read_record(place, fd, &current, err);
    if (result < 0 || (result = lease_check_after(place->vm, current.epoch, after, err)) < 0) {
        return result;
    }
    struct disk_epoch next = {
        .version = paxos->version, .epoch = after + 1, .written_at = clock_realtime_ns()};
    snprintf(next.host, sizeof(next.host), "%s", host);
    return write_record(place, fd, &next, err);
}

static int prepare(void *context, const char *path, struct error *err)
{
    const struct lease_place *place = context;
    return paxos_prepare(place->datastore, path, err);
}

static int open_file(const struct lease_place *place, struct error *err)
{
    int flags = O_RDWR | O_DSYNC;
    int fd = lockspace_open_direct(place->datastore, place->folder, FILE_NAME, flags, err);
    if (fd != -ENOENT) {
        return fd;
    }
    CLEANUP_FREE char *path = file_path("%s/%s", place->datastore->path, place->vm);
    struct lease_place context = *place;
    size_t size = LOCKSPACE_AREA_SIZE + sizeof(struct slots);
    int result = path ? exclusive_file_create_prepared(place->folder, path, FILE_NAME, size,
                                                       prepare, &context, err)
                      : error_set_errno(err, ENOMEM, "cannot make the lease of %s", place->vm);
    return result < 0 && result != -EEXIST
               ? result
               : lockspace_open_direct(place->datastore, place->folder, FILE_NAME, flags, err);
}

int lease_sanlock_advance(const struct lease_place *place, uint64_t after, const char *host,
                          struct error *err)
{
    struct paxos paxos;
    CLEANUP_FREE char *path = path_of(place);
    CLEANUP_CLOSE int fd = open_file(place, err);
    if (fd < 0 || !path) {
        return fd < 0 ? fd : error_set_errno(err, ENOMEM, "cannot take epoch of %s", place->vm);
    }
    int result = paxos_take(path, &paxos, err);
    if (result < 0) {
        return result;
    }
    result = take_epoch(place, fd, &paxos, after, host, err);
    if (result == 0) {
        result = paxos_check(&paxos, path, err);
    }
    paxos_done(&paxos);
    return result;
}

/* The file is made anew: a resource that begins at version 0, and records that begin with the
 * adopted one. */
int lease_sanlock_adopt(const struct lease_place *place, uint64_t epoch, struct error *err)
{
    struct disk_epoch record = {.epoch = epoch, .written_at = clock_realtime_ns()};
    if (unlinkat(place->folder, FILE_NAME, 0) < 0 && errno != ENOENT) {
        return error_set_errno(err, errno, "cannot remove %s/%s/" FILE_NAME, place->datastore->path,
                               place->vm);
    }
    if (epoch == 0) {
        return 0;
    }
    CLEANUP_CLOSE int fd = open_file(place, err);
    return fd < 0 ? fd : write_record(place, fd, &record, err);
}
