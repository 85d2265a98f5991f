/*
 * The codec of packed pages: none, lz4, zstd, or the difference from what the destination has.
 *
 * A chunk is up to PACK_CHUNK_PAGES pages, its content in the order of its table of runs. One
 * packer belongs to one sending thread, one unpacker to one receiving thread; both own all their
 * memory from their beginning on, so that a chunk costs no allocation.
 *
 * The guest writes its memory while we read it. A packer therefore works on a copy of its own,
 * taken once: what is packed, what is remembered for later differences and what is sent plainly
 * from it are the very same bytes, however the guest's page changes meanwhile.
 *
 * PACK_DELTA's packed bytes: one bit a page, lowest bit of the first byte first (set: a difference
 * from the page's content at the destination; clear: the whole page), padded to bytes; then one lz4
 * block, of the chunk in which each page of a set bit is XORed with the destination's content.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/guest.h"
#include "wire/frame.h"

/* zstd's speed and ratio stop growing at half a megabyte (bench/pack_speed.c). */
#define PACK_CHUNK_PAGES 128u
#define PACK_CHUNK_BYTES ((size_t)PACK_CHUNK_PAGES * ENGINE_PAGE_SIZE)

/* What others may send: as much as the protocol allows. Packed bytes are fewer than content. */
#define UNPACK_PAGES_MOST WIRE_PACKED_PAGES_MOST
#define UNPACK_BYTES_MOST ((size_t)UNPACK_PAGES_MOST * ENGINE_PAGE_SIZE)

/* As they are on the wire. */
enum pack_method {
    PACK_NONE = 0,
    PACK_LZ4 = 1,
    PACK_ZSTD = 2,
    PACK_DELTA = 3,
};
#define PACK_METHODS 4

/* "none", "lz4", "zstd", "delta"; "unknown" for what is none. */
const char *pack_method_name(unsigned method);

struct delta_cache;
struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

struct packer {
    struct delta_cache *cache; /* borrowed; NULL: no differences */
    uint8_t *content;          /* owned, as all below: the chunk as it was when it was taken */
    uint8_t *difference;
    uint8_t *packed;
    void *lz4_state;
    struct ZSTD_CCtx_s *zstd;
    uint32_t page_count;              /* of the chunk taken */
    uint64_t pages[PACK_CHUNK_PAGES]; /* their numbers */
};

/* `cache`, shared by the lanes of a move, outlives the packer; NULL where differences are not
 * wanted. 0 or -ENOMEM. */
int packer_init(struct packer *packer, struct delta_cache *cache, struct error *err);
void packer_done(struct packer *packer);

/* Copies the runs' pages, 1 to PACK_CHUNK_PAGES in all (asserted), out of the guest's memory. The
 * copy stays until the next call of this. */
void packer_take(struct packer *packer, const uint8_t *memory, const struct page_run *runs,
                 uint32_t run_count);

/* Packs what was taken, any number of times with whatever methods. True and the packed bytes, which
 * are the packer's until its next call; false when they would not be fewer than the content's (then
 * the content is to be sent plainly), and always for PACK_NONE. */
bool packer_pack(struct packer *packer, enum pack_method method, const uint8_t **ret_packed,
                 size_t *ret_length);

/* What a method would make of the runs, from one page in PACK_PROBE_INTERVAL: the sample's size and
 * what it was packed to (its own size when it does not shrink). Takes no copy of the rest and ends
 * what was taken before. */
#define PACK_PROBE_INTERVAL 4u
struct pack_probe {
    size_t content;
    size_t packed;
};
struct pack_probe packer_probe(struct packer *packer, enum pack_method method,
                               const uint8_t *memory, const struct page_run *runs,
                               uint32_t run_count);

/* The chunk that was taken is being sent, packed or plainly out of packer->content: later
 * differences may start from it. To be called before the same pages are sent again. */
void packer_remember(struct packer *packer);

struct unpacker {
    uint8_t *packed;  /* owned; room for UNPACK_BYTES_MOST, which the caller checks */
    uint8_t *content; /* owned; as many */
    struct ZSTD_DCtx_s *zstd;
};

/* 0 or -ENOMEM. */
int unpacker_init(struct unpacker *unpacker, struct error *err);
void unpacker_done(struct unpacker *unpacker);

/*
 * Unpacks `packed_length` bytes, received from a peer that is not trusted into unpacker->packed, as
 * `page_count` pages. On success *ret_content is their content, one page after the other, the
 * unpacker's until its next call: written into the guest by the caller, through pwritev(2) where
 * pages may be holes (a hole that cannot be filled is a SIGBUS through a mapping).
 *
 * `bases` has one entry a page: the page's present content at this side, NULL where there is none
 * (a hole must not even be read); read for PACK_DELTA only, may be NULL otherwise.
 *
 * 0, or -EPROTO in words when the bytes are not exactly what the method says they are. The guest's
 * memory is not touched in any case.
 */
int unpacker_unpack(struct unpacker *unpacker, unsigned method, size_t packed_length,
                    uint32_t page_count, const uint8_t *const *bases, const uint8_t **ret_content,
                    struct error *err);
