/* The further connections of a move: what they carry, and who may come. */
#include "test.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/socket.h"
#include "engine/delta_cache.h"
#include "engine/handshake.h"
#include "lanes_pair.h"

#define PATIENCE_NS (30 * NANOSECONDS_PER_SECOND)
#define BATCH 512u

static uint16_t closed_port(void)
{
    uint16_t port;
    CLEANUP_CLOSE int fd = socket_listen_tcp("127.0.0.1", 0, &port, NULL);
    assert_true(fd >= 0);
    return port;
}

/* ---- what they carry ---- */

static struct page_run random_run(void)
{
    uint16_t first, count;
    random_bytes(&first, sizeof(first));
    random_bytes(&count, sizeof(count));
    return (struct page_run){first % (LANES_PAIR_PAGES - BATCH), 1 + count % BATCH};
}

/* Data and zeroes at random, some pages again and again; both sides agree after each round. */
static void send_rounds(struct lanes_pair *pair)
{
    struct error err = ERROR_NONE;
    lanes_pair_fill(pair, (struct page_run){0, LANES_PAIR_PAGES}, false);
    assert_int_equal(lanes_pair_submit(pair, (struct page_run){0, LANES_PAIR_PAGES}, &err), 1);
    lanes_pair_end_round(pair, 1);
    lanes_pair_assert_equal(pair);
    for (uint32_t number = 2; number < 12; number++) {
        struct page_run run = random_run();
        lanes_pair_fill(pair, run, number % 3 == 0);
        assert_int_equal(lanes_pair_submit(pair, run, &err), 1);
        lanes_pair_end_round(pair, number);
        lanes_pair_assert_equal(pair);
    }
}

static void what_is_sent_arrives(void **state)
{
    struct lanes_pair *pair = *state;
    pair->setup.options.channels = 5;
    assert_int_equal(lanes_pair_open(pair, 4, 4), 1);
    send_rounds(pair);
    lanes_pair_await_bytes(pair);
    assert_int_equal(pair->figures.pages_sent, pair->pages_received);
    assert_true(pair->figures.pages_zero > 0);
}

static void what_is_packed_arrives(void **state)
{
    struct lanes_pair *pair = *state;
    struct delta_cache *cache = delta_cache_new(LANES_PAIR_PAGES, 16 << 20, NULL);
    pair->terms.compress = true;
    pair->terms.cache = cache;
    pair->setup.options.channels = 3;
    assert_int_equal(lanes_pair_open(pair, 2, 2), 1);
    send_rounds(pair);
    lanes_pair_await_bytes(pair);
    pair->source->engine.operations->close(pair->source);
    delta_cache_free(cache);
}

static void only_lanes_that_carried_something_end_a_round(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    pair->setup.options.channels = 5;
    assert_int_equal(lanes_pair_open(pair, 4, 4), 1);
    lanes_pair_fill(pair, (struct page_run){0, BATCH}, false);
    assert_int_equal(lanes_pair_submit(pair, (struct page_run){0, BATCH}, &err), 1);
    assert_int_equal(lanes_pair_end_round(pair, 1), 1);
    assert_int_equal(lanes_pair_end_round(pair, 2), 0);
    lanes_pair_assert_equal(pair);
}

static void a_network_that_is_not_there_is_done_without(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    lanes_pair_add_path(pair, closed_port());
    lanes_pair_fill(pair, (struct page_run){0, LANES_PAIR_PAGES}, false);
    assert_int_equal(lanes_pair_open(pair, 4, 2), 1);
    assert_int_equal(lanes_pair_submit(pair, (struct page_run){0, LANES_PAIR_PAGES}, &err), 1);
    assert_in_range(lanes_pair_end_round(pair, 1), 1, 2);
    lanes_pair_assert_equal(pair);
}

static void without_any_way_there_is_no_lane(void **state)
{
    struct lanes_pair *pair = *state;
    pair->setup.paths[0].port = closed_port();
    assert_int_equal(lanes_pair_open(pair, 3, 0), 0);
}

/* ---- who may come ---- */

static int knock(const struct lanes_pair *pair)
{
    int fd = socket_connect_tcp("127.0.0.1", pair->setup.paths[0].port, PATIENCE_NS, NULL);
    assert_true(fd >= 0);
    return fd;
}

static size_t make_hello(const char *token, unsigned channel, uint8_t *bytes)
{
    struct wire_hello hello = {.channel = (uint16_t)channel,
                               .channel_count = 60,
                               .page_size = ENGINE_PAGE_SIZE,
                               .memory_size = LANES_PAIR_MEMORY,
                               .move_id = LANES_PAIR_MOVE};
    struct wire_header header = {.type = WIRE_HELLO, .length = WIRE_HELLO_SIZE};
    memcpy(hello.token, token, strlen(token));
    wire_versions_fill(&hello.magic, &hello.version, &hello.lowest_version, hello.program);
    wire_header_encode(&header, bytes);
    wire_hello_encode(&hello, bytes + WIRE_HEADER_SIZE);
    return WIRE_HEADER_SIZE + WIRE_HELLO_SIZE;
}

static void assert_hung_up_on(const struct lanes_pair *pair, const void *bytes, size_t length)
{
    char byte;
    CLEANUP_CLOSE int fd = knock(pair);
    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
    assert_int_equal(socket_wait_readable(fd, PATIENCE_NS), 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
}

static void the_move_goes_on_among_strangers(void **state)
{
    static const struct {
        const char *token;
        unsigned channel;
    } strangers[] = {
        {"another secret", 3},
        {LANES_PAIR_TOKEN, 0},
        {LANES_PAIR_TOKEN, 2}, /* taken: the two that came are 2 and 4 */
        {LANES_PAIR_TOKEN, 9}, /* more than agreed */
    };
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    uint8_t hello[WIRE_HEADER_SIZE + WIRE_HELLO_SIZE];
    CLEANUP_CLOSE int silent = knock(pair);
    lanes_pair_add_path(pair, closed_port()); /* two of four do not come: the door stays open */
    assert_int_equal(lanes_pair_open(pair, 4, 2), 1);
    assert_hung_up_on(pair, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_hung_up_on(pair, "DVR", 3);
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        size_t length = make_hello(strangers[i].token, strangers[i].channel, hello);
        assert_hung_up_on(pair, hello, length);
    }
    lanes_pair_await_lanes(pair, 2);
    lanes_pair_fill(pair, (struct page_run){0, LANES_PAIR_PAGES}, false);
    assert_int_equal(lanes_pair_submit(pair, (struct page_run){0, LANES_PAIR_PAGES}, &err), 1);
    lanes_pair_end_round(pair, 1);
    lanes_pair_assert_equal(pair);
    assert_true(silent >= 0);
}

/* Somebody on the same network without the move's key, or who has it and says the wrong thing. */
struct visitor {
    struct secure_context *context;
    struct socket_channel channel;
};

static int greet_with(const struct lanes_pair *pair, const char *key, struct visitor *visitor)
{
    uint8_t bytes[SECURE_KEY_SIZE] = {0};
    memcpy(bytes, key, strlen(key));
    assert_int_equal(
        secure_context_new(SECURE_CLIENT, bytes, LANES_PAIR_MOVE, &visitor->context, NULL), 0);
    socket_channel_init(&visitor->channel, knock(pair), NULL);
    return secure_channel_greet(&visitor->channel, visitor->context, NULL);
}

static void go_home(struct visitor *visitor)
{
    socket_channel_done(&visitor->channel);
    secure_context_free(visitor->context);
}

/* In clear nothing is heard; with the key a wrong HELLO is, and refused. */
static void assert_dropped_after(struct visitor *visitor, const uint8_t *hello, size_t length)
{
    const struct engine_channel *channel = &visitor->channel.channel;
    char byte;
    struct iovec words = {(void *)hello, length}, answer = {&byte, 1};
    assert_int_equal(channel->operations->send(channel->channel, &words, 1, false, NULL), 0);
    assert_int_equal(channel->operations->receive(channel->channel, &answer, 1, NULL), -ECONNRESET);
}

static void an_encrypted_move_goes_on_among_strangers(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    struct visitor stranger, knower;
    uint8_t hello[WIRE_HEADER_SIZE + WIRE_HELLO_SIZE];
    CLEANUP_CLOSE int silent = knock(pair);
    lanes_pair_add_path(pair, closed_port()); /* two of four do not come: the door stays open */
    assert_int_equal(lanes_pair_open(pair, 4, 2), 1);
    assert_hung_up_on(pair, "GET / HTTP/1.1\r\n\r\n", 18);
    size_t length = make_hello(LANES_PAIR_TOKEN, 3, hello); /* right, but in clear */
    assert_hung_up_on(pair, hello, length);
    assert_true(greet_with(pair, "another key", &stranger) < 0);
    assert_int_equal(greet_with(pair, (const char *)LANES_PAIR_KEY, &knower), 0);
    length = make_hello("another secret", 3, hello);
    assert_dropped_after(&knower, hello, length);
    lanes_pair_await_lanes(pair, 2);
    lanes_pair_fill(pair, (struct page_run){0, LANES_PAIR_PAGES}, false);
    assert_int_equal(lanes_pair_submit(pair, (struct page_run){0, LANES_PAIR_PAGES}, &err), 1);
    lanes_pair_end_round(pair, 1);
    lanes_pair_assert_equal(pair);
    go_home(&stranger);
    go_home(&knower);
    assert_true(silent >= 0);
}

static void a_source_with_the_wrong_key_has_no_lanes(void **state)
{
    struct lanes_pair *pair = *state;
    secure_context_forget(pair->destination_key);
    pair->setup.options.channels = 3;
    assert_int_equal(lanes_pair_open(pair, 2, 0), 0);
}

/* Whoever is being heard when the lanes are closed may finish his words, but is let in no more:
 * what the engine lent is gone. */
static void nobody_is_let_in_after_the_end(void **state)
{
    struct lanes_pair *pair = *state;
    const struct engine_arrivals *arrivals = &pair->destination->engine;
    uint8_t hello[WIRE_HEADER_SIZE + WIRE_HELLO_SIZE];
    size_t length = make_hello(LANES_PAIR_TOKEN, 1, hello);
    CLEANUP_CLOSE int late = knock(pair);
    assert_int_equal(arrivals->operations->open(arrivals->arrivals, 2, &pair->received, NULL), 0);
    assert_int_equal(send(late, hello, length - 1, MSG_NOSIGNAL), length - 1);
    clock_sleep_ns(50 * NANOSECONDS_PER_MILLISECOND);
    arrivals->operations->close(arrivals->arrivals);
    page_set_done(&pair->received);
    assert_int_equal(send(late, hello + length - 1, 1, MSG_NOSIGNAL), 1);
    destination_lanes_free(pair->destination);
    pair->destination = NULL;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, lanes_pair_set_up, lanes_pair_tear_down)

#define SECURE(test) \
    cmocka_unit_test_setup_teardown(test, lanes_pair_set_up_secure, lanes_pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_sent_arrives),
        TEST(what_is_packed_arrives),
        TEST(only_lanes_that_carried_something_end_a_round),
        TEST(a_network_that_is_not_there_is_done_without),
        TEST(without_any_way_there_is_no_lane),
        TEST(the_move_goes_on_among_strangers),
        TEST(nobody_is_let_in_after_the_end),
        SECURE(what_is_sent_arrives),
        SECURE(what_is_packed_arrives),
        SECURE(only_lanes_that_carried_something_end_a_round),
        SECURE(a_network_that_is_not_there_is_done_without),
        SECURE(an_encrypted_move_goes_on_among_strangers),
        SECURE(a_source_with_the_wrong_key_has_no_lanes),
    };
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    return cmocka_run_group_tests_name("mover/lanes", tests, NULL, NULL);
}
