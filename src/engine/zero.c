/*
 * The zero test: see zero.h. Most pages of data differ from zero in their first bytes; a page that
 * does not is read in blocks of 256 bytes, each a branch-free OR that the compiler vectorises.
 */
#include "engine/zero.h"

#include <string.h>

#include "engine/guest.h"

#define BLOCK_WORDS 32

static uint64_t block_or(const uint8_t *block)
{
    uint64_t words[BLOCK_WORDS];
    memcpy(words, block, sizeof(words));
    uint64_t all = 0;
    for (int i = 0; i < BLOCK_WORDS; i++) {
        all |= words[i];
    }
    return all;
}

bool zero_page(const uint8_t *page)
{
    uint64_t first;
    memcpy(&first, page, sizeof(first));
    if (first) {
        return false;
    }
    for (uint32_t offset = 0; offset < ENGINE_PAGE_SIZE; offset += BLOCK_WORDS * sizeof(uint64_t)) {
        if (block_or(page + offset)) {
            return false;
        }
    }
    return true;
}
