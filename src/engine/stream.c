/* Frames over a channel: see stream.h. */
#include "engine/stream.h"

#include <errno.h>
#include <string.h>

static uint64_t pieces_length(const struct iovec *pieces, int count)
{
    uint64_t length = 0;
    for (int i = 0; i < count; i++) {
        length += pieces[i].iov_len;
    }
    return length;
}

int stream_send_pieces(struct stream *stream, const struct iovec *pieces, int count, bool more,
                       struct error *err)
{
    const struct engine_channel *channel = stream->channel;
    int result = channel->operations->send(channel->channel, pieces, count, more, err);
    if (result < 0) {
        stream->cut_off = true;
        return result;
    }
    stream->bytes_sent += pieces_length(pieces, count);
    return 0;
}

int stream_send_file(struct stream *stream, int fd, uint64_t offset, uint64_t length, bool more,
                     struct error *err)
{
    const struct engine_channel *channel = stream->channel;
    int result = channel->operations->send_file(channel->channel, fd, offset, length, more, err);
    if (result < 0) {
        stream->cut_off = true;
        return result;
    }
    stream->bytes_sent += length;
    return 0;
}

int stream_send(struct stream *stream, enum wire_type type, const void *body, size_t length,
                struct error *err)
{
    uint8_t header[WIRE_HEADER_SIZE];
    wire_header_encode(&(struct wire_header){.type = type, .length = (uint32_t)length}, header);
    struct iovec pieces[] = {{header, sizeof(header)}, {(void *)body, length}};
    return stream_send_pieces(stream, pieces, length > 0 ? 2 : 1, false, err);
}

int stream_wait(struct stream *stream, uint64_t timeout_ns, struct error *err)
{
    const struct engine_channel *channel = stream->channel;
    return channel->operations->wait_readable(channel->channel, timeout_ns, err);
}

int stream_receive_pieces(struct stream *stream, const struct iovec *pieces, int count,
                          struct error *err)
{
    const struct engine_channel *channel = stream->channel;
    int result = channel->operations->receive(channel->channel, pieces, count, err);
    if (result < 0) {
        return result;
    }
    stream->bytes_received += pieces_length(pieces, count);
    return 0;
}

int stream_receive(struct stream *stream, void *bytes, size_t length, struct error *err)
{
    struct iovec piece = {bytes, length};
    return length > 0 ? stream_receive_pieces(stream, &piece, 1, err) : 0;
}

int stream_receive_header(struct stream *stream, struct wire_header *ret_header, struct error *err)
{
    uint8_t bytes[WIRE_HEADER_SIZE];
    struct wire_header header;
    int result = stream_receive(stream, bytes, sizeof(bytes), err);
    if (result == 0) {
        result = wire_header_decode(bytes, &header, err);
    }
    if (result < 0) {
        return result;
    }
    if (wire_header_check(&header, err) < 0) {
        return error_wrap(err, "the %s broke the protocol", stream->peer);
    }
    *ret_header = header;
    return 0;
}

static enum wire_reason reason_of(int code)
{
    switch (code) {
    case ECANCELED:
        return WIRE_REASON_CANCELLED;
    case ENOMEM:
        return WIRE_REASON_EXHAUSTED;
    default:
        return WIRE_REASON_FAILED;
    }
}

static int code_of(unsigned reason)
{
    switch (reason) {
    case WIRE_REASON_CANCELLED:
        return ECANCELED;
    case WIRE_REASON_EXHAUSTED:
        return ENOMEM;
    default:
        return EREMOTEIO;
    }
}

int stream_send_abort(struct stream *stream, const struct error *reason, struct error *err)
{
    uint8_t body[WIRE_ABORT_SIZE + WIRE_REASON_MOST];
    if (stream->cut_off) {
        return error_set(err, EPIPE, "the connection to the %s is of no more use", stream->peer);
    }
    size_t length = strnlen(reason->message, WIRE_REASON_MOST);
    wire_abort_encode(&(struct wire_abort){.reason = reason_of(reason->code)}, body);
    memcpy(body + WIRE_ABORT_SIZE, reason->message, length);
    return stream_send(stream, WIRE_ABORT, body, WIRE_ABORT_SIZE + length, err);
}

/* What others wrote is shown to people: nothing but printable characters. */
static void make_printable(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = '?';
        }
    }
}

int stream_receive_abort(struct stream *stream, uint32_t length, struct error *err)
{
    uint8_t body[WIRE_ABORT_SIZE + WIRE_REASON_MOST + 1];
    struct wire_abort abort;
    int result = stream_receive(stream, body, length, err);
    if (result == 0) {
        result = wire_abort_decode(body, &abort, err);
    }
    if (result < 0) {
        return result;
    }
    body[length] = '\0';
    char *text = (char *)body + WIRE_ABORT_SIZE;
    make_printable(text);
    return error_set(err, code_of(abort.reason), "the %s gave up: %s", stream->peer,
                     *text ? text : "it gave no reason");
}

void stream_last_words(struct stream *stream, struct error *err)
{
    uint8_t skipped[WIRE_GREETING_MOST];
    struct wire_header header;
    if (err->code != ECONNRESET && err->code != EPIPE) {
        return;
    }
    while (stream_wait(stream, 0, NULL) == 1 && stream_receive_header(stream, &header, NULL) == 0) {
        if (header.type == WIRE_ABORT) {
            struct error theirs = ERROR_NONE;
            stream_receive_abort(stream, header.length, &theirs);
            *err = theirs;
            return;
        }
        if (header.length > sizeof(skipped) ||
            stream_receive(stream, skipped, header.length, NULL) < 0) {
            return;
        }
    }
}

int stream_unexpected(const struct stream *stream, unsigned type, const char *state,
                      struct error *err)
{
    return error_set(err, EPROTO, "the %s broke the protocol: a %s frame has no place in state %s",
                     stream->peer, wire_type_name(type), state);
}
