/* HELLO and WELCOME: see handshake.h. */
#include "engine/handshake.h"

#include <string.h>

#include "engine/guest.h"
#include "engine/source.h"

_Static_assert(ENGINE_TOKEN_SIZE == WIRE_TOKEN_SIZE, "one token");
_Static_assert(ENGINE_PAGE_SIZE == WIRE_PAGE_SIZE, "one page size");

int handshake_send_hello(struct stream *stream, const struct handshake_terms *terms,
                         unsigned channel, unsigned channel_count, struct error *err)
{
    uint8_t body[WIRE_HELLO_SIZE];
    struct wire_hello hello = {.channel = (uint16_t)channel,
                               .channel_count = (uint16_t)channel_count,
                               .page_size = ENGINE_PAGE_SIZE,
                               .memory_size = terms->memory_size};
    wire_versions_fill(&hello.magic, &hello.version, &hello.lowest_version, hello.program);
    memcpy(hello.token, terms->token, sizeof(hello.token));
    memcpy(hello.move_id, terms->move_id, sizeof(hello.move_id));
    wire_hello_encode(&hello, body);
    return stream_send(stream, WIRE_HELLO, body, sizeof(body), err);
}

static int check_versions(const uint8_t *body, const char *peer, struct error *err)
{
    struct wire_versions versions;
    unsigned version;
    int result = wire_versions_decode(body, &versions, err);
    return result < 0 ? result : wire_versions_agree(&versions, peer, &version, err);
}

int handshake_check_welcome(const struct handshake_terms *terms, const uint8_t *body,
                            uint32_t length, unsigned *ret_channels_most, struct error *err)
{
    struct wire_welcome welcome;
    int result = check_versions(body, "destination", err);
    if (result < 0) {
        return result;
    }
    if (length != WIRE_WELCOME_SIZE) {
        return error_set(err, EPROTO, "the destination's WELCOME has %u bytes instead of %d",
                         length, WIRE_WELCOME_SIZE);
    }
    result = wire_welcome_decode(body, &welcome, err);
    if (result < 0) {
        return result;
    }
    if (strcmp(welcome.move_id, terms->move_id) != 0) {
        return error_set(err, EPROTO, "the destination expects another move, %s", welcome.move_id);
    }
    *ret_channels_most = welcome.channels_most;
    return 0;
}

static int check_hello(const struct handshake_terms *terms, const struct wire_hello *hello,
                       struct error *err)
{
    if (!wire_token_equal(hello->token, terms->token)) {
        return error_set(err, EACCES, "the source does not know the secret of this move");
    }
    if (strcmp(hello->move_id, terms->move_id) != 0) {
        return error_set(err, EPROTO, "the source means another move, %s", hello->move_id);
    }
    if (hello->channel_count == 0 || hello->channel_count > WIRE_CHANNELS_MOST ||
        hello->channel >= hello->channel_count) {
        return error_set(err, EPROTO, "the source wants channel %u of %u", hello->channel,
                         hello->channel_count);
    }
    if (hello->page_size != ENGINE_PAGE_SIZE) {
        return error_set(err, EPROTO, "the source sends pages of %u bytes instead of %u",
                         hello->page_size, ENGINE_PAGE_SIZE);
    }
    if (hello->memory_size != terms->memory_size) {
        return error_set(
            err, EPROTO, "the guest has %llu bytes of memory at the source, but %llu here",
            (unsigned long long)hello->memory_size, (unsigned long long)terms->memory_size);
    }
    return 0;
}

int handshake_check_hello(const struct handshake_terms *terms, const uint8_t *body, uint32_t length,
                          unsigned *ret_channel, unsigned *ret_channel_count, struct error *err)
{
    struct wire_hello hello;
    int result = check_versions(body, "source", err);
    if (result < 0) {
        return result;
    }
    if (length != WIRE_HELLO_SIZE) {
        return error_set(err, EPROTO, "the source's HELLO has %u bytes instead of %d", length,
                         WIRE_HELLO_SIZE);
    }
    result = wire_hello_decode(body, &hello, err);
    if (result == 0) {
        result = check_hello(terms, &hello, err);
    }
    if (result < 0) {
        return result;
    }
    *ret_channel = hello.channel;
    *ret_channel_count = hello.channel_count;
    return 0;
}

int handshake_send_welcome(struct stream *stream, const struct handshake_terms *terms,
                           unsigned channels_most, struct error *err)
{
    uint8_t body[WIRE_WELCOME_SIZE];
    struct wire_welcome welcome = {.channels_most = (uint16_t)channels_most};
    wire_versions_fill(&welcome.magic, &welcome.version, &welcome.lowest_version, welcome.program);
    memcpy(welcome.move_id, terms->move_id, sizeof(welcome.move_id));
    wire_welcome_encode(&welcome, body);
    return stream_send(stream, WIRE_WELCOME, body, sizeof(body), err);
}

int handshake_await(struct stream *stream, enum wire_type type, uint64_t timeout_ns, uint8_t *body,
                    uint32_t *ret_length, struct error *err)
{
    struct wire_header header;
    int result = stream_wait(stream, timeout_ns, err);
    if (result == 0) {
        return error_set(err, ETIMEDOUT, "the %s did not greet", stream->peer);
    }
    if (result > 0) {
        result = stream_receive_header(stream, &header, err);
    }
    if (result < 0) {
        return result;
    }
    if (header.type == WIRE_ABORT) {
        return stream_receive_abort(stream, header.length, err);
    }
    if (header.type != type) {
        return stream_unexpected(stream, header.type, "connect", err);
    }
    *ret_length = header.length;
    return stream_receive(stream, body, header.length, err);
}
