/* Random bytes: see random.h. */
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *bytes, size_t length)
{
    uint8_t *next = bytes;
    while (length > 0) {
        ssize_t got = getrandom(next, length, 0);
        if (got < 0 && errno != EINTR) {
            abort(); /* a kernel without getrandom(2) cannot run Drover */
        }
        if (got > 0) {
            next += got;
            length -= (size_t)got;
        }
    }
}

void random_hex(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        uint8_t byte;
        random_bytes(&byte, 1);
        snprintf(text + 2 * i, 3, "%02x", byte);
    }
}
