/* The console's WebSocket: the RFC's own examples, and what no server may send. */
#include "test.h"

#include "cli/websocket.h"

/* RFC 6455, 1.3: key and answer of the protocol's opening example. */
#define RFC_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define RFC_ANSWER                                               \
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n" \
    "Connection: Upgrade\r\n"                                    \
    "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

struct streams {
    struct buffer input;
    struct buffer payload;
    struct buffer output;
    bool closed;
    struct error err;
};

static void streams_done(struct streams *streams)
{
    buffer_done(&streams->input);
    buffer_done(&streams->payload);
    buffer_done(&streams->output);
}

#define STREAMS __attribute__((cleanup(streams_done))) struct streams

static int receive(struct streams *streams, const char *bytes, size_t length)
{
    buffer_append(&streams->input, bytes, length);
    return websocket_receive(&streams->input, &streams->payload, &streams->output, &streams->closed,
                             &streams->err);
}

static void accepts_the_answer_byte_by_byte(void **state)
{
    (void)state;
    STREAMS streams = {0};
    int status = 0;
    const char *answer = RFC_ANSWER "\x82";
    size_t length = strlen(RFC_ANSWER);
    for (size_t i = 0; i + 1 < length; i++) {
        buffer_append(&streams.input, answer + i, 1);
        assert_int_equal(websocket_accept(&streams.input, RFC_KEY, &status, &streams.err), 0);
    }
    buffer_append(&streams.input, answer + length - 1, 2);
    assert_int_equal(websocket_accept(&streams.input, RFC_KEY, &status, &streams.err), 1);
    assert_int_equal(streams.input.length, 1);
}

static void refuses_a_wrong_proof_and_reports_a_status(void **state)
{
    (void)state;
    STREAMS streams = {0};
    int status = 0;
    buffer_append(&streams.input, RFC_ANSWER, strlen(RFC_ANSWER));
    assert_int_equal(
        websocket_accept(&streams.input, "AAAAAAAAAAAAAAAAAAAAAA==", &status, &streams.err),
        -EPROTO);
    buffer_reset(&streams.input);
    const char *refusal = "HTTP/1.0 409 Conflict\r\n\r\n{}";
    buffer_append(&streams.input, refusal, strlen(refusal));
    assert_int_equal(websocket_accept(&streams.input, RFC_KEY, &status, &streams.err), -EBADMSG);
    assert_int_equal(status, 409);
    assert_memory_equal(streams.input.data, "{}", 2);
}

static void reads_frames_in_pieces(void **state)
{
    (void)state;
    STREAMS streams = {0};
    const char frames[] = "\x82\x05hello\x81\x06 world";
    for (size_t i = 0; i + 1 < sizeof(frames); i++) {
        assert_int_equal(receive(&streams, frames + i, 1), 0);
    }
    assert_int_equal(streams.payload.length, 11);
    assert_memory_equal(streams.payload.data, "hello world", 11);
    assert_int_equal(streams.input.length, 0);
}

static void answers_ping_and_understands_close(void **state)
{
    (void)state;
    STREAMS streams = {0};
    assert_int_equal(receive(&streams, "\x89\x02ok\x88\x00\x82\x01x", 9), 0);
    assert_true(streams.closed);
    assert_int_equal(streams.output.length, 2 + 4 + 2);
    assert_int_equal(streams.output.data[0], 0x8A);
    assert_int_equal(streams.output.data[1], 0x82);
    assert_int_equal(streams.payload.length, 0);
}

static void refuses_what_no_server_may_send(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } rows[] = {{"\x82\x85", 2},                                  /* masked */
                {"\xC2\x01", 2},                                  /* an extension */
                {"\x09\x01", 2},                                  /* a ping in parts */
                {"\x89\x7E\x01\x00", 4},                          /* a ping of 256 bytes */
                {"\x82\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10}, /* a frame without end */
                {"\x83\x00", 2}};                                 /* an unknown kind */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        STREAMS streams = {0};
        assert_int_equal(receive(&streams, rows[i].bytes, rows[i].length), -EPROTO);
    }
}

static void masks_what_it_sends(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536};
    static const size_t headers[] = {6, 6, 6, 8, 8, 14};
    uint8_t *bytes = calloc(1, 65536);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        STREAMS streams = {0};
        assert_int_equal(websocket_send(&streams.output, bytes, lengths[i]), 0);
        assert_int_equal(streams.output.length, headers[i] + lengths[i]);
        assert_int_equal(streams.output.data[0], 0x82);
        assert_true(streams.output.data[1] & 0x80);
        const uint8_t *mask = streams.output.data + headers[i] - 4;
        for (size_t j = 0; j < lengths[i]; j++) {
            assert_int_equal(streams.output.data[headers[i] + j], mask[j % 4]);
        }
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_the_answer_byte_by_byte),
        cmocka_unit_test(refuses_a_wrong_proof_and_reports_a_status),
        cmocka_unit_test(reads_frames_in_pieces),
        cmocka_unit_test(answers_ping_and_understands_close),
        cmocka_unit_test(refuses_what_no_server_may_send),
        cmocka_unit_test(masks_what_it_sends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
