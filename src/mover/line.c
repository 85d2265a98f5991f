/* JSON lines: see line.h. */
#include "mover/line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/json.h"

#define READ_SIZE ((size_t)4096)

int line_send(int fd, const json_t *value, struct error *err)
{
    CLEANUP_FREE char *text = json_dumps(value, JSON_COMPACT);
    if (!text) {
        return error_set_errno(err, ENOMEM, "cannot send to the other end");
    }
    size_t length = strlen(text);
    text[length++] = '\n'; /* in the terminator's place */
    for (size_t sent = 0; sent < length;) {
        ssize_t done = send(fd, text + sent, length - sent, MSG_NOSIGNAL);
        if (done < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "cannot send to the other end");
        }
        sent += done > 0 ? (size_t)done : 0;
    }
    return 0;
}

int line_receive(int fd, struct buffer *input, struct error *err)
{
    if (input->length > LINE_MOST) {
        return error_set(err, EPROTO, "the other end sent a line of more than %zu bytes",
                         LINE_MOST);
    }
    uint8_t *space = buffer_reserve(input, READ_SIZE);
    ssize_t got = space ? recv(fd, space, READ_SIZE, 0) : -1;
    if (!space || (got < 0 && errno != ECONNRESET)) {
        return error_set_errno(err, space ? errno : ENOMEM, "cannot receive from the other end");
    }
    if (got <= 0) {
        return error_set(err, ECONNRESET, "the other end hung up");
    }
    input->length += (size_t)got;
    return 0;
}

int line_take(struct buffer *input, json_t **ret_value, struct error *err)
{
    uint8_t *end = input->length ? memchr(input->data, '\n', input->length) : NULL;
    if (!end) {
        return 0;
    }
    size_t length = (size_t)(end - input->data) + 1;
    CLEANUP_JSON json_t *value = json_parse((const char *)input->data, length, "a line", err);
    input->length -= length;
    memmove(input->data, input->data + length, input->length);
    if (!value) {
        return -EINVAL;
    }
    if (!json_is_object(value)) {
        return error_set(err, EINVAL, "a line is not a JSON object");
    }
    *ret_value = steal_pointer(&value);
    return 1;
}
