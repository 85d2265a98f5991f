/* UUIDs, as lower-case text of 36 characters (RFC 9562). */
#pragma once

#include <stdbool.h>

#define UUID_TEXT_SIZE 37

/* A random (version 4) UUID. */
void uuid_generate(char text[UUID_TEXT_SIZE]);

/* Whether text is 8-4-4-4-12 lower-case hexadecimal digits and nothing else. */
bool uuid_is_valid(const char *text);
