/* UUIDs: see uuid.h. */
#include "base/uuid.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"

void uuid_generate(char text[UUID_TEXT_SIZE])
{
    uint8_t b[16];
    random_bytes(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(text, UUID_TEXT_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

static bool is_dash_position(int position)
{
    return position == 8 || position == 13 || position == 18 || position == 23;
}

bool uuid_is_valid(const char *text)
{
    if (strlen(text) != UUID_TEXT_SIZE - 1) {
        return false;
    }
    for (int i = 0; i < UUID_TEXT_SIZE - 1; i++) {
        bool fits =
            is_dash_position(i) ? text[i] == '-' : strchr("0123456789abcdef", text[i]) != NULL;
        if (!fits) {
            return false;
        }
    }
    return true;
}
