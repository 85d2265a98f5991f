/*
 * What Drover writes into single sectors of a datastore: records of 512 bytes, which storage
 * replaces as a whole or not at all. Magic, version, one record's fields, zeroes, checksum
 * (CRC-32C); all but the fields is where it is in every version. Numbers are little endian. As in
 * wire/frame.h each record is written down once, as a list of fields.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"
#include "storage/vm_config.h"

#define DISK_RECORD_SIZE 512
#define DISK_RECORD_VERSION 1

/* The kinds of field: their type in C, and their bytes on the disk. */
typedef uint64_t disk_u64;
typedef char disk_uuid[UUID_TEXT_SIZE]; /* lower-case text, without its terminator */
typedef char disk_name[VM_NAME_SIZE];   /* file_name_is_safe(), or empty; padded with zeroes */
enum {
    DISK_SIZE_u64 = 8,
    DISK_SIZE_uuid = UUID_TEXT_SIZE - 1,
    DISK_SIZE_name = VM_NAME_SIZE,
};

/* A host's beat: DATASTORE/.drover/hosts/HOST. */
#define DISK_HEARTBEAT_FIELDS(FIELD)                                                     \
    FIELD(uuid, datastore) /* the datastore's: a copy on another one is no beat there */ \
    FIELD(name, host)                                                                    \
    FIELD(name, host_id) /* the machine, whatever its name */                            \
    FIELD(uuid, boot_id) /* this run of its kernel */                                    \
    FIELD(uuid, beater)  /* this run of what beats */                                    \
    FIELD(u64, counter)                                                                  \
    FIELD(u64, written_at) /* CLOCK_REALTIME in nanoseconds, for people */

/* An epoch of a lease of kind sanlock: VM/lease.sanlock. */
#define DISK_EPOCH_FIELDS(FIELD)                                                         \
    FIELD(u64, version) /* of the sanlock resource under whose lease this was written */ \
    FIELD(u64, epoch)                                                                    \
    FIELD(name, host)                                                                    \
    FIELD(u64, written_at) /* CLOCK_REALTIME in nanoseconds, for people */

/* Declares struct disk_NAME, disk_NAME_encode() and disk_NAME_decode(). The decoder answers
 * -EBADMSG for what is no such record, or a damaged one, -ENOTSUP for a newer version's. */
#define DISK_MEMBER(kind, member) disk_##kind member;
#define DISK_DECLARE(NAME, name)                                                                   \
    struct disk_##name {                                                                           \
        DISK_##NAME##_FIELDS(DISK_MEMBER)                                                          \
    };                                                                                             \
    void disk_##name##_encode(const struct disk_##name *value, uint8_t bytes[DISK_RECORD_SIZE]);   \
    int disk_##name##_decode(const uint8_t bytes[DISK_RECORD_SIZE], struct disk_##name *ret_value, \
                             struct error *err);

#define DISK_RECORDS(RECORD)                \
    RECORD(HEARTBEAT, heartbeat, "DVRBEAT") \
    RECORD(EPOCH, epoch, "DVREPOC")
#define DISK_DECLARE_RECORD(NAME, name, magic) DISK_DECLARE(NAME, name)
DISK_RECORDS(DISK_DECLARE_RECORD)
