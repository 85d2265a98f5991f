/* HELLO and WELCOME: what both sides agree on, and what each refuses by name. */
#include "test.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/guest.h"
#include "engine/handshake.h"
#include "plain_channel.h"

#define MOVE_ID "00000000-0000-4000-8000-000000000001"
#define OTHER_ID "00000000-0000-4000-8000-000000000002"
#define MEMORY_SIZE ((uint64_t)64 << 20)
#define PATIENCE_NS (10 * NANOSECONDS_PER_SECOND)

struct fixture {
    int sockets[2];
    struct plain_channel plain[2];
    struct engine_channel channels[2];
    struct stream source, destination;
    struct error err;
};

static const uint8_t token[WIRE_TOKEN_SIZE] = "secret";
static const struct handshake_terms terms = {token, MOVE_ID, MEMORY_SIZE};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fixture->sockets), 0);
    for (int i = 0; i < 2; i++) {
        fixture->plain[i].fd = fixture->sockets[i];
        fixture->channels[i] = plain_channel_of(&fixture->plain[i]);
    }
    fixture->source = (struct stream){.channel = &fixture->channels[0], .peer = "destination"};
    fixture->destination = (struct stream){.channel = &fixture->channels[1], .peer = "source"};
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close(fixture->sockets[0]);
    close(fixture->sockets[1]);
    free(fixture);
    return 0;
}

static void assert_says(const struct fixture *fixture, int result, int code, const char *words)
{
    assert_int_equal(result, -code);
    if (fixture->err.code != code || !strstr(fixture->err.message, words)) {
        fail_msg("%d \"%s\", expected \"…%s…\"", fixture->err.code, fixture->err.message, words);
    }
}

/* What the destination makes of a HELLO with these terms. */
static int say_hello(struct fixture *fixture, const struct handshake_terms *theirs,
                     unsigned channel, unsigned count, unsigned *ret_channel, unsigned *ret_count)
{
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    struct stream *destination = &fixture->destination;
    struct error *err = &fixture->err;
    assert_int_equal(handshake_send_hello(&fixture->source, theirs, channel, count, err), 0);
    assert_int_equal(handshake_await(destination, WIRE_HELLO, PATIENCE_NS, body, &length, err), 0);
    return handshake_check_hello(&terms, body, length, ret_channel, ret_count, err);
}

static void both_agree(void **state)
{
    struct fixture *fixture = *state;
    struct error *err = &fixture->err;
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    unsigned channel, count, most;
    assert_int_equal(say_hello(fixture, &terms, 3, 7, &channel, &count), 0);
    assert_int_equal(channel, 3);
    assert_int_equal(count, 7);
    assert_int_equal(handshake_send_welcome(&fixture->destination, &terms, 5, err), 0);
    assert_int_equal(
        handshake_await(&fixture->source, WIRE_WELCOME, PATIENCE_NS, body, &length, err), 0);
    assert_int_equal(handshake_check_welcome(&terms, body, length, &most, err), 0);
    assert_int_equal(most, 5);
}

static void other_terms_are_refused(void **state)
{
    static const uint8_t other_token[WIRE_TOKEN_SIZE] = "Secret";
    static const struct {
        struct handshake_terms terms;
        unsigned channel, count;
        int code;
        const char *words;
    } refused[] = {
        {{other_token, MOVE_ID, MEMORY_SIZE}, 0, 1, EACCES, "does not know the secret"},
        {{token, OTHER_ID, MEMORY_SIZE}, 0, 1, EPROTO, "means another move, " OTHER_ID},
        {{token, MOVE_ID, MEMORY_SIZE * 2}, 0, 1, EPROTO, "bytes of memory at the source"},
        {{token, MOVE_ID, MEMORY_SIZE}, 0, 0, EPROTO, "wants channel 0 of 0"},
        {{token, MOVE_ID, MEMORY_SIZE}, 4, 4, EPROTO, "wants channel 4 of 4"},
        {{token, MOVE_ID, MEMORY_SIZE}, 0, WIRE_CHANNELS_MOST + 1, EPROTO, "channel 0 of 65"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        unsigned channel = 99, count = 99;
        int result = say_hello(fixture, &refused[i].terms, refused[i].channel, refused[i].count,
                               &channel, &count);
        assert_says(fixture, result, refused[i].code, refused[i].words);
        assert_int_equal(channel, 99);
        assert_int_equal(count, 99);
    }
}

/* Of our version, with another length: an older or newer program that says it were ours. */
static void a_greeting_of_another_length_is_refused(void **state)
{
    struct fixture *fixture = *state;
    uint8_t body[WIRE_GREETING_MOST] = {0};
    struct wire_versions versions = {.magic = 0};
    unsigned channel, count;
    wire_versions_fill(&versions.magic, &versions.version, &versions.lowest_version,
                       versions.program);
    wire_versions_encode(&versions, body);
    assert_says(
        fixture,
        handshake_check_hello(&terms, body, WIRE_HELLO_SIZE + 1, &channel, &count, &fixture->err),
        EPROTO, "HELLO has");
    assert_says(fixture,
                handshake_check_welcome(&terms, body, WIRE_VERSIONS_SIZE, &channel, &fixture->err),
                EPROTO, "WELCOME has");
}

static void another_version_is_named(void **state)
{
    struct fixture *fixture = *state;
    uint8_t body[WIRE_GREETING_MOST] = {0};
    struct wire_versions versions = {WIRE_MAGIC, WIRE_VERSION + 7, WIRE_VERSION + 6, "drover-9"};
    unsigned channel, count;
    wire_versions_encode(&versions, body);
    assert_says(
        fixture,
        handshake_check_hello(&terms, body, WIRE_VERSIONS_SIZE, &channel, &count, &fixture->err),
        ENOTSUP, "drover-9");
}

static void another_move_s_welcome_is_refused(void **state)
{
    static const struct handshake_terms other = {token, OTHER_ID, MEMORY_SIZE};
    struct fixture *fixture = *state;
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    unsigned most;
    struct error *err = &fixture->err;
    assert_int_equal(handshake_send_welcome(&fixture->destination, &other, 5, err), 0);
    assert_int_equal(
        handshake_await(&fixture->source, WIRE_WELCOME, PATIENCE_NS, body, &length, err), 0);
    assert_says(fixture, handshake_check_welcome(&terms, body, length, &most, err), EPROTO,
                "another move");
}

static void whoever_says_something_else_is_refused(void **state)
{
    struct fixture *fixture = *state;
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    struct error *err = &fixture->err;
    struct error reason = {.code = ECANCELED, .message = "no more"};
    assert_says(fixture, handshake_await(&fixture->source, WIRE_WELCOME, 1, body, &length, err),
                ETIMEDOUT, "the destination did not greet");
    assert_int_equal(stream_send(&fixture->destination, WIRE_KEEPALIVE, NULL, 0, err), 0);
    assert_says(fixture,
                handshake_await(&fixture->source, WIRE_WELCOME, PATIENCE_NS, body, &length, err),
                EPROTO, "KEEPALIVE frame has no place");
    assert_int_equal(stream_send_abort(&fixture->destination, &reason, err), 0);
    assert_says(fixture,
                handshake_await(&fixture->source, WIRE_WELCOME, PATIENCE_NS, body, &length, err),
                ECANCELED, "no more");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_agree),
        TEST(other_terms_are_refused),
        TEST(a_greeting_of_another_length_is_refused),
        TEST(another_version_is_named),
        TEST(another_move_s_welcome_is_refused),
        TEST(whoever_says_something_else_is_refused),
    };
    return cmocka_run_group_tests_name("engine/handshake", tests, NULL, NULL);
}
