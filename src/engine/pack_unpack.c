/*
 * Unpacking what a peer sent: see pack.h. Nothing of it is believed: the lengths are those of the
 * frame that was checked before, and a decompressor must fill exactly the pages that the table
 * names.
 */
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "engine/pack.h"
#include "engine/pack_format.h"

int unpacker_init(struct unpacker *unpacker, struct error *err)
{
    *unpacker = (struct unpacker){
        .packed = malloc(UNPACK_BYTES_MOST),
        .content = malloc(UNPACK_BYTES_MOST),
        .zstd = ZSTD_createDCtx(),
    };
    if (!unpacker->packed || !unpacker->content || !unpacker->zstd) {
        unpacker_done(unpacker);
        return error_set(err, ENOMEM, "out of memory for unpacking pages");
    }
    return 0;
}

void unpacker_done(struct unpacker *unpacker)
{
    ZSTD_freeDCtx(unpacker->zstd);
    free(unpacker->content);
    free(unpacker->packed);
    *unpacker = (struct unpacker){0};
}

static int malformed(unsigned method, uint32_t page_count, struct error *err)
{
    return error_set(err, EPROTO, "a packed chunk is damaged: its %s bytes are not %u pages",
                     pack_method_name(method), page_count);
}

static bool unpack_lz4(const uint8_t *packed, size_t packed_length, uint8_t *content,
                       size_t content_length)
{
    int length = LZ4_decompress_safe((const char *)packed, (char *)content, (int)packed_length,
                                     (int)content_length);
    return length >= 0 && (size_t)length == content_length;
}

/* Exactly one frame of the present format that says its size: the library would also take several,
 * frames to be skipped, and formats of the past. Without a stream there is no window to bound: the
 * content's own buffer serves as one. */
static bool unpack_zstd(struct unpacker *unpacker, size_t packed_length, size_t content_length)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    const uint8_t *packed = unpacker->packed;
    if (packed_length < sizeof(magic) || memcmp(packed, magic, sizeof(magic)) != 0 ||
        ZSTD_getFrameContentSize(packed, packed_length) != content_length ||
        ZSTD_findFrameCompressedSize(packed, packed_length) != packed_length) {
        return false;
    }
    return ZSTD_decompressDCtx(unpacker->zstd, unpacker->content, content_length, packed,
                               packed_length) == content_length;
}

/* No bit beyond the last page, and a base for each page that wants one. */
static bool bits_hold(const uint8_t *bits, uint32_t page_count, const uint8_t *const *bases)
{
    for (uint32_t i = page_count; i < pack_delta_bits_size(page_count) * 8; i++) {
        if (pack_delta_bit(bits, i)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < page_count; i++) {
        if (pack_delta_bit(bits, i) && !(bases && bases[i])) {
            return false;
        }
    }
    return true;
}

static void add_base(uint8_t *restrict content, const uint8_t *restrict base)
{
    for (size_t at = 0; at < ENGINE_PAGE_SIZE; at++) {
        content[at] ^= base[at];
    }
}

static bool unpack_delta(struct unpacker *unpacker, size_t packed_length, uint32_t page_count,
                         const uint8_t *const *bases)
{
    const uint8_t *bits = unpacker->packed;
    size_t bits_size = pack_delta_bits_size(page_count);
    if (packed_length <= bits_size || !bits_hold(bits, page_count, bases) ||
        !unpack_lz4(bits + bits_size, packed_length - bits_size, unpacker->content,
                    (size_t)page_count * ENGINE_PAGE_SIZE)) {
        return false;
    }
    for (uint32_t i = 0; i < page_count; i++) {
        if (pack_delta_bit(bits, i)) {
            add_base(unpacker->content + (size_t)i * ENGINE_PAGE_SIZE, bases[i]);
        }
    }
    return true;
}

static bool unpack(struct unpacker *unpacker, unsigned method, size_t packed_length,
                   uint32_t page_count, const uint8_t *const *bases)
{
    size_t content_length = (size_t)page_count * ENGINE_PAGE_SIZE;
    switch (method) {
    case PACK_LZ4:
        return unpack_lz4(unpacker->packed, packed_length, unpacker->content, content_length);
    case PACK_ZSTD:
        return unpack_zstd(unpacker, packed_length, content_length);
    case PACK_DELTA:
        return unpack_delta(unpacker, packed_length, page_count, bases);
    default:
        return false;
    }
}

int unpacker_unpack(struct unpacker *unpacker, unsigned method, size_t packed_length,
                    uint32_t page_count, const uint8_t *const *bases, const uint8_t **ret_content,
                    struct error *err)
{
    if (method == PACK_NONE || method >= PACK_METHODS) {
        return error_set(err, EPROTO, "a packed chunk is of a method unknown here: %u", method);
    }
    if (page_count == 0 || page_count > UNPACK_PAGES_MOST) {
        return error_set(err, EPROTO, "a packed chunk cannot have %u pages", page_count);
    }
    if (packed_length == 0 || packed_length > UNPACK_BYTES_MOST ||
        !unpack(unpacker, method, packed_length, page_count, bases)) {
        return malformed(method, page_count, err);
    }
    *ret_content = unpacker->content;
    return 0;
}
