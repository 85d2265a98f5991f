/* What PACK_DELTA's packed bytes begin with, for both sides: one bit a page. See pack.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t pack_delta_bits_size(uint32_t page_count)
{
    return (page_count + 7) / 8;
}

static inline void pack_delta_bit_set(uint8_t *bits, uint32_t index)
{
    bits[index / 8] |= (uint8_t)(1u << (index % 8));
}

static inline bool pack_delta_bit(const uint8_t *bits, uint32_t index)
{
    return bits[index / 8] >> (index % 8) & 1;
}
