/* Random bytes from the kernel; never fails once the system has booted. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *bytes, size_t length);

/* `length` random bytes as 2 * length hexadecimal digits and a terminator. */
void random_hex(char *text, size_t length);
