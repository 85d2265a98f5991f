/* Encoders and decoders of the frames, made from their field lists: see frame.h. */
#include "wire/frame.h"

#include <stdio.h>
#include <string.h>

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

/* One pair a kind of field. get_…() returns whether the bytes are a value of the kind. */
#define NUMBER_KIND(kind)                                            \
    static void put_##kind(uint8_t *bytes, const wire_##kind *value) \
    {                                                                \
        put_number(bytes, *value, WIRE_SIZE_##kind);                 \
    }                                                                \
    static bool get_##kind(const uint8_t *bytes, wire_##kind *value) \
    {                                                                \
        *value = (wire_##kind)get_number(bytes, WIRE_SIZE_##kind);   \
        return true;                                                 \
    }
NUMBER_KIND(u16)
NUMBER_KIND(u32)
NUMBER_KIND(u64)

static void put_token(uint8_t *bytes, const wire_token *value)
{
    memcpy(bytes, *value, WIRE_SIZE_token);
}

static bool get_token(const uint8_t *bytes, wire_token *value)
{
    memcpy(*value, bytes, WIRE_SIZE_token);
    return true;
}

static void put_uuid(uint8_t *bytes, const wire_uuid *value)
{
    memcpy(bytes, *value, WIRE_SIZE_uuid);
}

static bool get_uuid(const uint8_t *bytes, wire_uuid *value)
{
    memcpy(*value, bytes, WIRE_SIZE_uuid);
    (*value)[WIRE_SIZE_uuid] = '\0';
    return uuid_is_valid(*value);
}

static void put_name(uint8_t *bytes, const wire_name *value)
{
    size_t length = strnlen(*value, WIRE_SIZE_name);
    memcpy(bytes, *value, length);
    memset(bytes + length, 0, WIRE_SIZE_name - length);
}

static bool get_name(const uint8_t *bytes, wire_name *value)
{
    memcpy(*value, bytes, WIRE_SIZE_name);
    (*value)[WIRE_SIZE_name] = '\0';
    size_t length = strlen(*value);
    for (size_t i = 0; i < WIRE_SIZE_name; i++) {
        bool printable = bytes[i] > 0x20 && bytes[i] < 0x7f;
        if (i < length ? !printable : bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

#define PUT_FIELD(kind, member)        \
    put_##kind(bytes, &value->member); \
    bytes += WIRE_SIZE_##kind;
#define GET_FIELD(kind, member)                                                       \
    if (!get_##kind(bytes, &value.member)) {                                          \
        return error_set(err, EPROTO, "the field " #member " is not a valid " #kind); \
    }                                                                                 \
    bytes += WIRE_SIZE_##kind;
#define DEFINE_BODY(NAME, name)                                                   \
    void wire_##name##_encode(const struct wire_##name *value, uint8_t *bytes)    \
    {                                                                             \
        WIRE_##NAME##_FIELDS(PUT_FIELD)                                           \
    }                                                                             \
    int wire_##name##_decode(const uint8_t *bytes, struct wire_##name *ret_value, \
                             struct error *err)                                   \
    {                                                                             \
        (void)err; /* unused where all fields are numbers */                      \
        struct wire_##name value;                                                 \
        WIRE_##NAME##_FIELDS(GET_FIELD) *ret_value = value;                       \
        return 0;                                                                 \
    }
WIRE_BODIES(DEFINE_BODY)

struct frame_row {
    unsigned type;
    const char *name;
    uint32_t least;
    uint32_t most;
};

#define FRAME_ROW(NAME, number, least, most) {(number), #NAME, (least), (most)},
static const struct frame_row frame_rows[] = {WIRE_FRAMES(FRAME_ROW)};

static const struct frame_row *frame_row_of(unsigned type)
{
    for (size_t i = 0; i < sizeof(frame_rows) / sizeof(frame_rows[0]); i++) {
        if (frame_rows[i].type == type) {
            return &frame_rows[i];
        }
    }
    return NULL;
}

const char *wire_type_name(unsigned type)
{
    const struct frame_row *row = frame_row_of(type);
    return row ? row->name : "unknown";
}

int wire_header_check(const struct wire_header *header, struct error *err)
{
    const struct frame_row *row = frame_row_of(header->type);
    if (!row) {
        return error_set(err, EPROTO, "%u is not a type of frame", header->type);
    }
    if (header->flags != 0) {
        return error_set(err, EPROTO, "a %s frame has unknown flags 0x%x", row->name,
                         header->flags);
    }
    if (header->length < row->least || header->length > row->most) {
        return error_set(err, EPROTO, "a %s frame of %u bytes is outside of its bounds (%u to %u)",
                         row->name, header->length, row->least, row->most);
    }
    return 0;
}

void wire_versions_fill(wire_u32 *magic, wire_u16 *version, wire_u16 *lowest_version,
                        wire_name program)
{
    *magic = WIRE_MAGIC;
    *version = WIRE_VERSION;
    *lowest_version = WIRE_LOWEST_VERSION;
    snprintf(program, sizeof(wire_name), "%s", "drover-" DROVER_VERSION);
}

int wire_versions_agree(const struct wire_versions *theirs, const char *peer, unsigned *ret_version,
                        struct error *err)
{
    if (theirs->magic != WIRE_MAGIC) {
        return error_set(err, EPROTO, "what the %s sent is not Drover's migration protocol", peer);
    }
    unsigned version = theirs->version < WIRE_VERSION ? theirs->version : WIRE_VERSION;
    if (version < theirs->lowest_version || version < WIRE_LOWEST_VERSION) {
        error_set(err, ENOTSUP,
                  "the %s (%s) speaks migration protocol versions %u to %u, this side (drover-%s) "
                  "%u to %u",
                  peer, theirs->program, theirs->lowest_version, theirs->version, DROVER_VERSION,
                  WIRE_LOWEST_VERSION, WIRE_VERSION);
        return error_remedy(err, "upgrade the older of the two hosts");
    }
    *ret_version = version;
    return 0;
}

bool wire_token_equal(const wire_token left, const wire_token right)
{
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < WIRE_TOKEN_SIZE; i++) {
        difference |= left[i] ^ right[i];
    }
    return difference == 0;
}

int wire_runs_decode(const uint8_t *bytes, uint32_t run_count, uint64_t memory_pages,
                     struct wire_run *ret_runs, uint64_t *ret_pages, struct error *err)
{
    uint64_t after_last = 0, pages = 0;
    for (uint32_t i = 0; i < run_count; i++, bytes += WIRE_RUN_SIZE) {
        struct wire_run run;
        wire_run_decode(bytes, &run, err);
        if (run.count == 0) {
            return error_set(err, EPROTO, "run %u of the table is empty", i);
        }
        if (run.first < after_last) {
            return error_set(err, EPROTO, "run %u of the table lies before the end of the last", i);
        }
        if (run.first >= memory_pages || run.count > memory_pages - run.first) {
            return error_set(err, EPROTO,
                             "run %u of the table, %u pages from page %llu, is outside of the "
                             "memory of %llu pages",
                             i, run.count, (unsigned long long)run.first,
                             (unsigned long long)memory_pages);
        }
        after_last = run.first + run.count;
        pages += run.count;
        ret_runs[i] = run;
    }
    *ret_pages = pages;
    return 0;
}
