/*
 * libFuzzer's entry: bytes as a PACKED frame's content, from a source that is not trusted. The
 * first says the method, the second how many pages, the third which pages have a base. What is
 * accepted must be all the pages and come out the same again; what is refused must say why.
 */
#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pack.h"

#define HEAD 3u
#define PAGES_MOST 16u
#define CONTENT_MOST ((size_t)PAGES_MOST * ENGINE_PAGE_SIZE)
#define GUARD ENGINE_PAGE_SIZE /* unreadable behind what is there */

static struct unpacker unpacker;
static uint8_t base[ENGINE_PAGE_SIZE];

static void choose_bases(const uint8_t **bases, uint8_t mask)
{
    for (unsigned i = 0; i < PAGES_MOST; i++) {
        bases[i] = mask >> i % 8 & 1 ? base : NULL;
    }
}

/* Unpacks with only these bytes readable, into memory that held `before`: a byte left unwritten
 * shows. */
static int unpack(const uint8_t *bytes, size_t length, uint32_t pages, uint8_t before,
                  uint8_t *ret_content)
{
    const uint8_t *bases[PAGES_MOST], *content = NULL;
    struct error err = ERROR_NONE;
    choose_bases(bases, bytes[2]);
    memcpy(unpacker.packed, bytes + HEAD, length - HEAD);
    memset(unpacker.content, before, CONTENT_MOST);
    ASAN_POISON_MEMORY_REGION(unpacker.packed + (length - HEAD), GUARD);
    ASAN_POISON_MEMORY_REGION(unpacker.content + (size_t)pages * ENGINE_PAGE_SIZE, GUARD);
    int result = unpacker_unpack(&unpacker, bytes[0], length - HEAD, pages, bases, &content, &err);
    ASAN_UNPOISON_MEMORY_REGION(unpacker.packed + (length - HEAD), GUARD);
    ASAN_UNPOISON_MEMORY_REGION(unpacker.content + (size_t)pages * ENGINE_PAGE_SIZE, GUARD);
    if (result == 0) {
        memcpy(ret_content, content, (size_t)pages * ENGINE_PAGE_SIZE);
    } else if (result != -EPROTO || err.code != EPROTO || !err.message[0] || content) {
        abort();
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static uint8_t first[CONTENT_MOST], second[CONTENT_MOST];
    if (!unpacker.packed) {
        memset(base, 'b', sizeof(base));
        if (unpacker_init(&unpacker, NULL) < 0) {
            abort();
        }
    }
    if (length < HEAD) {
        return 0;
    }
    uint32_t pages = bytes[1] % PAGES_MOST;
    int result = unpack(bytes, length, pages, 0, first);
    if (unpack(bytes, length, pages, 0xff, second) != result ||
        (result == 0 && memcmp(first, second, (size_t)pages * ENGINE_PAGE_SIZE) != 0)) {
        abort();
    }
    return 0;
}
