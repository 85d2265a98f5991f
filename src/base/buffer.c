/* Growable buffers: see buffer.h. */
#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_done(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_reset(struct buffer *buffer)
{
    buffer->length = 0;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t extra)
{
    if (extra > SIZE_MAX / 4 || buffer->length > SIZE_MAX / 4) {
        return NULL;
    }
    size_t wanted = buffer->length + extra;
    if (wanted > buffer->capacity || !buffer->data) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < wanted) {
            capacity *= 2;
        }
        uint8_t *data = realloc(buffer->data, capacity);
        if (!data) {
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->length;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
    uint8_t *end = buffer_reserve(buffer, length);
    if (!end) {
        return -ENOMEM;
    }
    if (length > 0) {
        memcpy(end, bytes, length);
    }
    buffer->length += length;
    return 0;
}

int buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return -EINVAL;
    }
    char *end = (char *)buffer_reserve(buffer, (size_t)length + 1);
    if (!end) {
        return -ENOMEM;
    }
    va_start(arguments, format);
    vsnprintf(end, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)length;
    return 0;
}
