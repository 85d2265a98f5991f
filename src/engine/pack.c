/*
 * Packing: see pack.h. The room for packed bytes is smaller than the content by PACK_GAIN_LEAST, so
 * that a compressor which cannot gain that much gives up by itself.
 */
#include "engine/pack.h"

#include <assert.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "engine/delta_cache.h"
#include "engine/pack_format.h"

#define ZSTD_LEVEL 1 /* half of lz4's bytes at two thirds of its speed; higher ones gain little */
#define PACK_GAIN_LEAST 32 /* one part in so many: less is not worth unpacking it */

const char *pack_method_name(unsigned method)
{
    static const char *const names[PACK_METHODS] = {
        [PACK_NONE] = "none",
        [PACK_LZ4] = "lz4",
        [PACK_ZSTD] = "zstd",
        [PACK_DELTA] = "delta",
    };
    return method < PACK_METHODS ? names[method] : "unknown";
}

/* Touches all that a chunk needs: else the first probe of a move would pay for the page faults, and
 * its method be taken for a slow one. */
static void warm_up(struct packer *packer)
{
    memset(packer->content, 0, PACK_CHUNK_BYTES);
    memset(packer->difference, 0, PACK_CHUNK_BYTES);
    memset(packer->packed, 0, PACK_CHUNK_BYTES);
    memset(packer->lz4_state, 0, (size_t)LZ4_sizeofState());
    ZSTD_compress2(packer->zstd, packer->packed, PACK_CHUNK_BYTES, packer->content,
                   PACK_CHUNK_BYTES);
}

int packer_init(struct packer *packer, struct delta_cache *cache, struct error *err)
{
    *packer = (struct packer){
        .cache = cache,
        .content = malloc(PACK_CHUNK_BYTES),
        .difference = malloc(PACK_CHUNK_BYTES),
        .packed = malloc(PACK_CHUNK_BYTES),
        .lz4_state = malloc((size_t)LZ4_sizeofState()),
        .zstd = ZSTD_createCCtx(),
    };
    if (!packer->content || !packer->difference || !packer->packed || !packer->lz4_state ||
        !packer->zstd ||
        ZSTD_isError(ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL))) {
        packer_done(packer);
        return error_set(err, ENOMEM, "out of memory for packing pages");
    }
    warm_up(packer);
    return 0;
}

void packer_done(struct packer *packer)
{
    ZSTD_freeCCtx(packer->zstd);
    free(packer->lz4_state);
    free(packer->packed);
    free(packer->difference);
    free(packer->content);
    *packer = (struct packer){0};
}

static void take_page(struct packer *packer, const uint8_t *memory, uint64_t page)
{
    memcpy(packer->content + (size_t)packer->page_count * ENGINE_PAGE_SIZE,
           memory + page * ENGINE_PAGE_SIZE, ENGINE_PAGE_SIZE);
    packer->pages[packer->page_count++] = page;
}

void packer_take(struct packer *packer, const uint8_t *memory, const struct page_run *runs,
                 uint32_t run_count)
{
    packer->page_count = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        assert(runs[i].count <= PACK_CHUNK_PAGES - packer->page_count);
        for (uint64_t page = runs[i].first; page < runs[i].first + runs[i].count; page++) {
            take_page(packer, memory, page);
        }
    }
    assert(packer->page_count > 0);
}

static size_t pack_lz4(struct packer *packer, const uint8_t *from, size_t length, uint8_t *to,
                       size_t room)
{
    int packed = LZ4_compress_fast_extState(packer->lz4_state, (const char *)from, (char *)to,
                                            (int)length, (int)room, 1);
    return packed > 0 ? (size_t)packed : 0;
}

static size_t pack_zstd(struct packer *packer, const uint8_t *from, size_t length, uint8_t *to,
                        size_t room)
{
    size_t packed = ZSTD_compress2(packer->zstd, to, room, from, length);
    return ZSTD_isError(packed) ? 0 : packed;
}

/* Fills packer->difference, and says in the bits which pages have a base. */
static void subtract_pages(struct packer *packer, uint8_t *bits)
{
    memset(bits, 0, pack_delta_bits_size(packer->page_count));
    for (uint32_t i = 0; i < packer->page_count; i++) {
        const uint8_t *content = packer->content + (size_t)i * ENGINE_PAGE_SIZE;
        uint8_t *difference = packer->difference + (size_t)i * ENGINE_PAGE_SIZE;
        if (delta_cache_subtract(packer->cache, packer->pages[i], content, difference)) {
            pack_delta_bit_set(bits, i);
        } else {
            memcpy(difference, content, ENGINE_PAGE_SIZE);
        }
    }
}

static size_t pack_delta(struct packer *packer, size_t length, uint8_t *to, size_t room)
{
    size_t bits = pack_delta_bits_size(packer->page_count);
    if (!packer->cache) {
        return 0;
    }
    subtract_pages(packer, to);
    size_t packed = pack_lz4(packer, packer->difference, length, to + bits, room - bits);
    return packed > 0 ? bits + packed : 0;
}

bool packer_pack(struct packer *packer, enum pack_method method, const uint8_t **ret_packed,
                 size_t *ret_length)
{
    size_t length = (size_t)packer->page_count * ENGINE_PAGE_SIZE, packed = 0;
    size_t room = length - length / PACK_GAIN_LEAST;
    switch (method) {
    case PACK_NONE:
        break;
    case PACK_LZ4:
        packed = pack_lz4(packer, packer->content, length, packer->packed, room);
        break;
    case PACK_ZSTD:
        packed = pack_zstd(packer, packer->content, length, packer->packed, room);
        break;
    case PACK_DELTA:
        packed = pack_delta(packer, length, packer->packed, room);
        break;
    }
    if (packed == 0) {
        return false;
    }
    *ret_packed = packer->packed;
    *ret_length = packed;
    return true;
}

/* One page in PACK_PROBE_INTERVAL of the runs, at least one: from the middle of each interval. */
static void take_sample(struct packer *packer, const uint8_t *memory, const struct page_run *runs,
                        uint32_t run_count)
{
    uint64_t next = PACK_PROBE_INTERVAL / 2, seen = 0;
    packer->page_count = 0;
    for (uint32_t i = 0; i < run_count; seen += runs[i].count, i++) {
        for (; next < seen + runs[i].count; next += PACK_PROBE_INTERVAL) {
            take_page(packer, memory, runs[i].first + (next - seen));
        }
    }
    if (packer->page_count == 0) {
        take_page(packer, memory, runs[0].first);
    }
}

struct pack_probe packer_probe(struct packer *packer, enum pack_method method,
                               const uint8_t *memory, const struct page_run *runs,
                               uint32_t run_count)
{
    const uint8_t *packed;
    size_t length;
    take_sample(packer, memory, runs, run_count);
    size_t content = (size_t)packer->page_count * ENGINE_PAGE_SIZE;
    if (!packer_pack(packer, method, &packed, &length)) {
        length = content;
    }
    return (struct pack_probe){.content = content, .packed = length};
}

void packer_remember(struct packer *packer)
{
    for (uint32_t i = 0; packer->cache && i < packer->page_count; i++) {
        delta_cache_store(packer->cache, packer->pages[i],
                          packer->content + (size_t)i * ENGINE_PAGE_SIZE);
    }
}
