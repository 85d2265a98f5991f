/* Hexadecimal digits: see hex.h. */
#include "base/hex.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

void hex_encode(const uint8_t *bytes, size_t size, char *text)
{
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * size] = '\0';
}

static uint8_t value_of(char digit)
{
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

bool hex_decode(const char *text, uint8_t *bytes, size_t size)
{
    if (strlen(text) != 2 * size || strspn(text, digits) != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value_of(text[2 * i]) << 4 | value_of(text[2 * i + 1]));
    }
    return true;
}
