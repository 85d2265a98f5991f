/* Whether a page is all zeroes: asked for every page of a guest, so it must be fast. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* `page` points to ENGINE_PAGE_SIZE readable bytes, aligned to 64. */
bool zero_page(const uint8_t *page);
