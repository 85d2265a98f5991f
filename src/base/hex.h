/* Bytes as lower-case hexadecimal digits: how secrets and hashes travel in JSON. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `text` has room for 2 * size digits and a terminator. */
void hex_encode(const uint8_t *bytes, size_t size, char *text);

/* False, with `bytes` as they were, when the text is not exactly 2 * size lower-case digits. */
bool hex_decode(const char *text, uint8_t *bytes, size_t size);
