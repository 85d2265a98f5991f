/* A growable run of bytes. All-zero is an empty buffer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *data; /* owned; NULL while nothing was ever appended */
    size_t length;
    size_t capacity;
};

/* Frees the content; the buffer is empty and usable again afterwards. */
void buffer_done(struct buffer *buffer);

/* Empties, keeps the memory. */
void buffer_reset(struct buffer *buffer);

/* Room for `extra` more bytes; returns where they go, or NULL without memory. Does not change
 * length. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t extra);

/* 0 or -ENOMEM. */
int buffer_append(struct buffer *buffer, const void *bytes, size_t length);
int buffer_append_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define CLEANUP_BUFFER __attribute__((cleanup(buffer_done)))
