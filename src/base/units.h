/* Sizes, rates and durations as people write and read them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* "512M", "2G", "1.5G", "4096" (bytes; K, M, G, T are powers of 1024; "MiB" and "MB" too). */
int units_parse_size(const char *text, uint64_t *ret_bytes, struct error *err);

/* "1.5 GiB", "210 KiB", "17 B". */
void units_format_size(uint64_t bytes, char *text, size_t size);

/* "450 ms", "12.3 s", "3 min 20 s". */
void units_format_duration(uint64_t nanoseconds, char *text, size_t size);
