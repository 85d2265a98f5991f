/* Encoders and decoders of the records, made from their field lists: see disk_record.h. */
#include "storage/disk_record.h"

#include <stdbool.h>
#include <string.h>

#include "base/file.h"

#define MAGIC_SIZE 8 /* 7 letters and a zero */
#define CHECKSUM_SIZE 4
#define CHECKSUM_AT (DISK_RECORD_SIZE - CHECKSUM_SIZE)
#define CRC32C_POLYNOMIAL 0x82f63b78U /* Castagnoli's, reflected (RFC 3720, B.4) */

static void put_number(uint8_t *bytes, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t get_number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

/* One record at a time, so bit by bit is fast enough. */
static uint32_t crc32c(const uint8_t *bytes, size_t length)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        }
    }
    return ~crc;
}

/* One pair a kind of field. get_…() returns whether the bytes are a value of the kind. */
static void put_u64(uint8_t *bytes, const disk_u64 *value)
{
    put_number(bytes, *value, DISK_SIZE_u64);
}

static bool get_u64(const uint8_t *bytes, disk_u64 *value)
{
    *value = get_number(bytes, DISK_SIZE_u64);
    return true;
}

static void put_uuid(uint8_t *bytes, const disk_uuid *value)
{
    memcpy(bytes, *value, DISK_SIZE_uuid);
}

static bool get_uuid(const uint8_t *bytes, disk_uuid *value)
{
    memcpy(*value, bytes, DISK_SIZE_uuid);
    (*value)[DISK_SIZE_uuid] = '\0';
    return uuid_is_valid(*value);
}

static void put_name(uint8_t *bytes, const disk_name *value)
{
    memcpy(bytes, *value, strnlen(*value, DISK_SIZE_name - 1)); /* the rest is zeroes already */
}

static bool get_name(const uint8_t *bytes, disk_name *value)
{
    memcpy(*value, bytes, DISK_SIZE_name);
    return (*value)[DISK_SIZE_name - 1] == '\0' && (!(*value)[0] || file_name_is_safe(*value));
}

/* Fills what is around the fields. */
static void seal(uint8_t bytes[DISK_RECORD_SIZE], const char *magic)
{
    memcpy(bytes, magic, MAGIC_SIZE);
    put_number(bytes + MAGIC_SIZE, DISK_RECORD_VERSION, DISK_SIZE_u64);
    put_number(bytes + CHECKSUM_AT, crc32c(bytes, CHECKSUM_AT), CHECKSUM_SIZE);
}

static int check_seal(const uint8_t bytes[DISK_RECORD_SIZE], const char *magic, struct error *err)
{
    if (memcmp(bytes, magic, MAGIC_SIZE) != 0) {
        return error_set(err, EBADMSG, "it does not begin with %s", magic);
    }
    if (get_number(bytes + CHECKSUM_AT, CHECKSUM_SIZE) != crc32c(bytes, CHECKSUM_AT)) {
        return error_set(err, EBADMSG, "its checksum is wrong");
    }
    uint64_t version = get_number(bytes + MAGIC_SIZE, DISK_SIZE_u64);
    if (version != DISK_RECORD_VERSION) {
        return error_set(err, ENOTSUP, "it has version %llu, and this Drover, %s, knows version %d",
                         (unsigned long long)version, DROVER_VERSION, DISK_RECORD_VERSION);
    }
    return 0;
}

#define PUT_FIELD(kind, member)     \
    put_##kind(at, &value->member); \
    at += DISK_SIZE_##kind;
#define GET_FIELD(kind, member)                                                        \
    if (!get_##kind(at, &value.member)) {                                              \
        return error_set(err, EBADMSG, "the field " #member " is not a valid " #kind); \
    }                                                                                  \
    at += DISK_SIZE_##kind;
#define ROOM_FIELD(kind, member) uint8_t member[DISK_SIZE_##kind];
#define DEFINE_RECORD(NAME, name, magic)                                                           \
    struct disk_##name##_layout {                                                                  \
        DISK_##NAME##_FIELDS(ROOM_FIELD)                                                           \
    };                                                                                             \
    _Static_assert(MAGIC_SIZE + DISK_SIZE_u64 + sizeof(struct disk_##name##_layout) <=             \
                       CHECKSUM_AT,                                                                \
                   "a record fits its sector");                                                    \
    _Static_assert(sizeof(magic) == MAGIC_SIZE, "a magic fits its place");                         \
    void disk_##name##_encode(const struct disk_##name *value, uint8_t bytes[DISK_RECORD_SIZE])    \
    {                                                                                              \
        uint8_t *at = bytes + MAGIC_SIZE + DISK_SIZE_u64;                                          \
        memset(bytes, 0, DISK_RECORD_SIZE);                                                        \
        DISK_##NAME##_FIELDS(PUT_FIELD) seal(bytes, magic);                                        \
    }                                                                                              \
    int disk_##name##_decode(const uint8_t bytes[DISK_RECORD_SIZE], struct disk_##name *ret_value, \
                             struct error *err)                                                    \
    {                                                                                              \
        struct disk_##name value;                                                                  \
        const uint8_t *at = bytes + MAGIC_SIZE + DISK_SIZE_u64;                                    \
        int result = check_seal(bytes, magic, err);                                                \
        if (result < 0) {                                                                          \
            return result;                                                                         \
        }                                                                                          \
        DISK_##NAME##_FIELDS(GET_FIELD) *ret_value = value;                                        \
        return 0;                                                                                  \
    }
DISK_RECORDS(DEFINE_RECORD)
