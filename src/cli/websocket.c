/* WebSocket frames: see websocket.h. */
#include "cli/websocket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/random.h"

#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define ANSWER_BYTES_MOST 16384
#define CONTROL_BYTES_MOST 125

enum opcode {
    OPCODE_CONTINUATION = 0,
    OPCODE_TEXT = 1,
    OPCODE_BINARY = 2,
    OPCODE_CLOSE = 8,
    OPCODE_PING = 9,
    OPCODE_PONG = 10
};

struct frame {
    enum opcode opcode;
    size_t header_length;
    uint64_t length;
};

static void buffer_take(struct buffer *buffer, size_t length)
{
    memmove(buffer->data, buffer->data + length, buffer->length - length);
    buffer->length -= length;
}

void websocket_make_key(char key[WEBSOCKET_KEY_SIZE])
{
    unsigned char bytes[16];
    random_bytes(bytes, sizeof(bytes));
    EVP_EncodeBlock((unsigned char *)key, bytes, sizeof(bytes));
}

int websocket_request(const char *host, const char *path, const char *token, const char *key,
                      struct buffer *output)
{
    return buffer_append_format(output,
                                "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                                "Sec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                                path, host, key, token ? "Authorization: Bearer " : "",
                                token ? token : "", token ? "\r\n" : "");
}

/* RFC 6455, 4.2.2: the server proves that it read the key. */
static void expected_accept(const char *key, char accept[32])
{
    char text[128];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    snprintf(text, sizeof(text), "%s%s", key, ACCEPT_GUID);
    EVP_Digest(text, strlen(text), digest, &length, EVP_sha1(), NULL);
    EVP_EncodeBlock((unsigned char *)accept, digest, (int)length);
}

/* Whether the header lines hold NAME with exactly this value. */
static bool has_header(const char *lines, const char *name, const char *value)
{
    size_t length = strlen(name);
    for (const char *line = lines; line; line = strstr(line, "\r\n")) {
        line += strncmp(line, "\r\n", 2) == 0 ? 2 : 0;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *found = line + length + 1 + strspn(line + length + 1, " \t");
            size_t rest = strcspn(found, " \t\r");
            return rest == strlen(value) && strncmp(found, value, rest) == 0;
        }
    }
    return false;
}

int websocket_accept(struct buffer *input, const char *key, int *ret_status, struct error *err)
{
    char accept[32];
    const uint8_t *end = input->length ? memmem(input->data, input->length, "\r\n\r\n", 4) : NULL;
    if (!end) {
        return input->length < ANSWER_BYTES_MOST
                   ? 0
                   : error_set(err, EPROTO, "the agent's answer has no end");
    }
    size_t length = (size_t)(end - input->data) + 4;
    CLEANUP_FREE char *head = strndup((const char *)input->data, length);
    if (!head) {
        return error_set_errno(err, ENOMEM, "cannot open the console");
    }
    bool is_http =
        strncmp(head, "HTTP/1.", 7) == 0 && strlen(head) > 9; /* libwebsockets refuses in 1.0 */
    int status = is_http ? atoi(head + 9) : 0;
    if (status >= 300 && status <= 599) {
        *ret_status = status;
        buffer_take(input, length);
        return -EBADMSG;
    }
    expected_accept(key, accept);
    if (status != 101 || !has_header(head, "Sec-WebSocket-Accept", accept)) {
        return error_set(err, EPROTO, "the agent does not open a WebSocket");
    }
    buffer_take(input, length);
    return 1;
}

static int append_frame(struct buffer *output, enum opcode opcode, const void *bytes, size_t length)
{
    uint8_t header[14] = {(uint8_t)(0x80 | opcode)};
    size_t used = 2;
    if (length < 126) {
        header[1] = (uint8_t)length;
    } else if (length <= UINT16_MAX) {
        header[1] = 126;
        header[used++] = (uint8_t)(length >> 8);
        header[used++] = (uint8_t)length;
    } else {
        header[1] = 127;
        for (int shift = 56; shift >= 0; shift -= 8) {
            header[used++] = (uint8_t)((uint64_t)length >> shift);
        }
    }
    header[1] |= 0x80;
    uint8_t *mask = header + used;
    random_bytes(mask, 4);
    uint8_t *target = buffer_reserve(output, used + 4 + length);
    if (!target) {
        return -ENOMEM;
    }
    memcpy(target, header, used + 4);
    for (size_t i = 0; i < length; i++) {
        target[used + 4 + i] = ((const uint8_t *)bytes)[i] ^ mask[i % 4];
    }
    output->length += used + 4 + length;
    return 0;
}

int websocket_send(struct buffer *output, const void *bytes, size_t length)
{
    return append_frame(output, OPCODE_BINARY, bytes, length);
}

int websocket_send_close(struct buffer *output)
{
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xFF};
    return append_frame(output, OPCODE_CLOSE, normal, sizeof(normal));
}

/* Reads a frame's header: 1, or 0 when more bytes are needed. */
static int read_header(const struct buffer *input, size_t offset, struct frame *ret_frame)
{
    const uint8_t *bytes = input->data + offset;
    size_t available = input->length - offset;
    if (available < 2) {
        return 0;
    }
    uint8_t length = bytes[1] & 0x7F;
    size_t extra = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (available < 2 + extra) {
        return 0;
    }
    uint64_t value = extra ? 0 : length;
    for (size_t i = 0; i < extra; i++) {
        value = value << 8 | bytes[2 + i];
    }
    ret_frame->opcode = bytes[0] & 0x0F;
    ret_frame->header_length = 2 + extra;
    ret_frame->length = value;
    return 1;
}

/* A server's frames are not masked, use no extension, and fit. */
static int check_frame(const struct frame *frame, const uint8_t *bytes, struct error *err)
{
    bool control = frame->opcode >= OPCODE_CLOSE;
    bool whole = bytes[0] & 0x80;
    if ((bytes[0] & 0x70) || (bytes[1] & 0x80) || frame->length > WEBSOCKET_FRAME_MOST ||
        (control && (!whole || frame->length > CONTROL_BYTES_MOST))) {
        return error_set(err, EPROTO, "the agent sends a frame that no WebSocket server may send");
    }
    return 0;
}

static int handle_frame(const struct frame *frame, const uint8_t *payload,
                        struct buffer *ret_payload, struct buffer *output, bool *ret_closed,
                        struct error *err)
{
    int result = 0;
    switch (frame->opcode) {
    case OPCODE_CONTINUATION:
    case OPCODE_TEXT:
    case OPCODE_BINARY:
        result = buffer_append(ret_payload, payload, frame->length);
        break;
    case OPCODE_PING:
        result = append_frame(output, OPCODE_PONG, payload, frame->length);
        break;
    case OPCODE_PONG:
        break;
    case OPCODE_CLOSE:
        *ret_closed = true;
        break;
    default:
        return error_set(err, EPROTO, "the agent sends frames of an unknown kind");
    }
    return result < 0 ? error_set_errno(err, ENOMEM, "cannot read the console") : 0;
}

int websocket_receive(struct buffer *input, struct buffer *ret_payload, struct buffer *output,
                      bool *ret_closed, struct error *err)
{
    size_t offset = 0;
    struct frame frame;
    *ret_closed = false;
    while (!*ret_closed && read_header(input, offset, &frame)) {
        const uint8_t *bytes = input->data + offset;
        int result = check_frame(&frame, bytes, err);
        if (result < 0) {
            return result;
        }
        size_t available = input->length - offset - frame.header_length;
        if (available < frame.length) {
            break;
        }
        result =
            handle_frame(&frame, bytes + frame.header_length, ret_payload, output, ret_closed, err);
        if (result < 0) {
            return result;
        }
        offset += frame.header_length + (size_t)frame.length;
    }
    if (offset > 0) {
        buffer_take(input, offset);
    }
    return 0;
}
