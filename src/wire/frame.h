/*
 * The frames of the migration protocol: what they hold, their encoders and their checked decoders.
 *
 * Every frame is a header of WIRE_HEADER_SIZE bytes (type, flags, length of what follows) and a
 * body. Numbers are little endian. Each body is written down once, as a list of fields, from which
 * come its struct, its size, its encoder and its decoder; the idea is canonical/raft's
 * src/lib/serialize.h. PAGES and ZERO carry a table of runs after their fixed part.
 * docs/protocol/migration.md says which side sends what and when. No I/O happens here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"

#define WIRE_MAGIC 0x31525644u /* "DVR1" */
#define WIRE_VERSION 2
#define WIRE_LOWEST_VERSION 2 /* the oldest peer that we still understand */

#define WIRE_PAGE_SIZE 4096u
#define WIRE_RUNS_MOST 1000u        /* runs in one table: with its header they fit one sendmsg(2) */
#define WIRE_PAGES_MOST 2048u       /* pages of data in one PAGES frame: 8 MiB */
#define WIRE_PACKED_PAGES_MOST 128u /* pages of content in one PACKED frame: half a megabyte */
#define WIRE_STATE_MOST (1u << 20)  /* device state in one frame */
#define WIRE_CHANNELS_MOST 64u      /* connections of one move */
#define WIRE_REASON_MOST 512u       /* text of an ABORT */
#define WIRE_GREETING_MOST 1024u    /* HELLO and WELCOME of any version */

/* The kinds of field: their type in C, and their bytes on the wire. */
#define WIRE_TOKEN_SIZE 32
typedef uint16_t wire_u16;
typedef uint32_t wire_u32;
typedef uint64_t wire_u64;
typedef uint8_t wire_token[WIRE_TOKEN_SIZE];
typedef char wire_uuid[UUID_TEXT_SIZE]; /* lower-case text, without its terminator */
typedef char wire_name[33];             /* printable, padded with zeroes to 32 */
enum {
    WIRE_SIZE_u16 = 2,
    WIRE_SIZE_u32 = 4,
    WIRE_SIZE_u64 = 8,
    WIRE_SIZE_token = WIRE_TOKEN_SIZE,
    WIRE_SIZE_uuid = UUID_TEXT_SIZE - 1,
    WIRE_SIZE_name = 32,
};

/* The fields, in their order on the wire. */
#define WIRE_HEADER_FIELDS(FIELD) \
    FIELD(u16, type)              \
    FIELD(u16, flags)             \
    FIELD(u32, length)

/* What HELLO and WELCOME begin with, in every version for ever. */
#define WIRE_VERSIONS_FIELDS(FIELD) \
    FIELD(u32, magic)               \
    FIELD(u16, version)             \
    FIELD(u16, lowest_version)      \
    FIELD(name, program)

#define WIRE_HELLO_FIELDS(FIELD) \
    WIRE_VERSIONS_FIELDS(FIELD)  \
    FIELD(token, token)          \
    FIELD(uuid, move_id)         \
    FIELD(u16, channel)          \
    FIELD(u16, channel_count)    \
    FIELD(u32, page_size)        \
    FIELD(u64, memory_size)

#define WIRE_WELCOME_FIELDS(FIELD) \
    WIRE_VERSIONS_FIELDS(FIELD)    \
    FIELD(uuid, move_id)           \
    FIELD(u16, channels_most)

/* Fixed part of PAGES, PACKED and ZERO: a table of that many runs follows. `method` says how the
 * content is packed: one of enum pack_method in PACKED, else 0. */
#define WIRE_TABLE_FIELDS(FIELD) \
    FIELD(u32, run_count)        \
    FIELD(u16, method)           \
    FIELD(u16, reserved)

#define WIRE_RUN_FIELDS(FIELD) \
    FIELD(u64, first)          \
    FIELD(u32, count)

/* On channel 0 `channels` says how many others carried a part of the round, and end it too; on
 * those it is 0. */
#define WIRE_ROUND_END_FIELDS(FIELD) \
    FIELD(u32, number)               \
    FIELD(u16, channels)
#define WIRE_ROUND_ACK_FIELDS(FIELD) FIELD(u32, number)
#define WIRE_STATE_END_FIELDS(FIELD) FIELD(u64, state_bytes)
#define WIRE_READY_FIELDS(FIELD) FIELD(u64, load_state_ns)

#define WIRE_RUNNING_FIELDS(FIELD) \
    FIELD(u64, load_state_ns)      \
    FIELD(u64, run_ns)

/* Fixed part of ABORT: the text follows. */
#define WIRE_ABORT_FIELDS(FIELD) FIELD(u16, reason)

/* Declares struct wire_NAME, WIRE_NAME_SIZE, wire_NAME_encode() and wire_NAME_decode(). The encoder
 * writes WIRE_NAME_SIZE bytes; the decoder reads as many, which the caller has. */
#define WIRE_MEMBER(kind, member) wire_##kind member;
#define WIRE_ROOM(kind, member) uint8_t member[WIRE_SIZE_##kind];
#define WIRE_DECLARE(NAME, name)                                                  \
    struct wire_##name {                                                          \
        WIRE_##NAME##_FIELDS(WIRE_MEMBER)                                         \
    };                                                                            \
    struct wire_##name##_layout {                                                 \
        WIRE_##NAME##_FIELDS(WIRE_ROOM)                                           \
    };                                                                            \
    enum { WIRE_##NAME##_SIZE = sizeof(struct wire_##name##_layout) };            \
    void wire_##name##_encode(const struct wire_##name *value, uint8_t *bytes);   \
    int wire_##name##_decode(const uint8_t *bytes, struct wire_##name *ret_value, \
                             struct error *err);

#define WIRE_BODIES(BODY)      \
    BODY(HEADER, header)       \
    BODY(VERSIONS, versions)   \
    BODY(HELLO, hello)         \
    BODY(WELCOME, welcome)     \
    BODY(TABLE, table)         \
    BODY(RUN, run)             \
    BODY(ROUND_END, round_end) \
    BODY(ROUND_ACK, round_ack) \
    BODY(STATE_END, state_end) \
    BODY(READY, ready)         \
    BODY(RUNNING, running)     \
    BODY(ABORT, abort)
WIRE_BODIES(WIRE_DECLARE)

/* Frame types: number on the wire, least and most bytes of body. */
#define WIRE_TABLE_MOST (WIRE_TABLE_SIZE + WIRE_RUNS_MOST * WIRE_RUN_SIZE)
#define WIRE_TABLE_LEAST (WIRE_TABLE_SIZE + WIRE_RUN_SIZE)
#define WIRE_FRAMES(FRAME)                                                \
    FRAME(HELLO, 1, WIRE_VERSIONS_SIZE, WIRE_GREETING_MOST)               \
    FRAME(WELCOME, 2, WIRE_VERSIONS_SIZE, WIRE_GREETING_MOST)             \
    FRAME(PAGES, 3, WIRE_TABLE_LEAST + WIRE_PAGE_SIZE,                    \
          WIRE_TABLE_MOST + WIRE_PAGES_MOST * WIRE_PAGE_SIZE)             \
    FRAME(ZERO, 4, WIRE_TABLE_LEAST, WIRE_TABLE_MOST)                     \
    FRAME(ROUND_END, 5, WIRE_ROUND_END_SIZE, WIRE_ROUND_END_SIZE)         \
    FRAME(ROUND_ACK, 6, WIRE_ROUND_ACK_SIZE, WIRE_ROUND_ACK_SIZE)         \
    FRAME(DEVICE_STATE, 7, 1, WIRE_STATE_MOST)                            \
    FRAME(STATE_END, 8, WIRE_STATE_END_SIZE, WIRE_STATE_END_SIZE)         \
    FRAME(READY, 9, WIRE_READY_SIZE, WIRE_READY_SIZE)                     \
    FRAME(RUN, 10, 0, 0)                                                  \
    FRAME(RUNNING, 11, WIRE_RUNNING_SIZE, WIRE_RUNNING_SIZE)              \
    FRAME(ABORT, 12, WIRE_ABORT_SIZE, WIRE_ABORT_SIZE + WIRE_REASON_MOST) \
    FRAME(KEEPALIVE, 13, 0, 0)                                            \
    FRAME(PACKED, 14, WIRE_TABLE_LEAST + 1,                               \
          WIRE_TABLE_MOST + WIRE_PACKED_PAGES_MOST * WIRE_PAGE_SIZE)

#define WIRE_FRAME_ENUM(NAME, number, least, most) WIRE_##NAME = (number),
enum wire_type { WIRE_FRAMES(WIRE_FRAME_ENUM) };

/* Why a side gives up: decides how the other one reports it. */
enum wire_reason {
    WIRE_REASON_FAILED = 1,
    WIRE_REASON_CANCELLED = 2,
    WIRE_REASON_EXHAUSTED = 3, /* out of memory for the guest */
};

/* "HELLO"; "unknown" for a type that is none. */
const char *wire_type_name(unsigned type);

/* Whether a decoded header may stand: known type, no flags, length within the type's bounds. 0 or
 * -EPROTO, naming what. */
int wire_header_check(const struct wire_header *header, struct error *err);

/* Our own versions, for HELLO and WELCOME. */
void wire_versions_fill(wire_u32 *magic, wire_u16 *version, wire_u16 *lowest_version,
                        wire_name program);

/* Whether we and a peer of these versions understand each other: 0 and the version to speak, or
 * -ENOTSUP with both sides' versions named. `peer` is "source" or "destination". */
int wire_versions_agree(const struct wire_versions *theirs, const char *peer, unsigned *ret_version,
                        struct error *err);

/* Compares two tokens in time that does not depend on where they differ. */
bool wire_token_equal(const wire_token left, const wire_token right);

/* Decodes `run_count` runs and checks them: none empty, ascending, apart, inside of memory_pages.
 * 0 and the sum of their pages, or -EPROTO. */
int wire_runs_decode(const uint8_t *bytes, uint32_t run_count, uint64_t memory_pages,
                     struct wire_run *ret_runs, uint64_t *ret_pages, struct error *err);
