/* How the further connections of a move end: cut, cancelled, closed in the middle, never there. */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"
#include "engine/handshake.h"
#include "lanes_pair.h"

#define PATIENCE_NS (30 * NANOSECONDS_PER_SECOND)
#define ALL ((struct page_run){0, LANES_PAIR_PAGES})

/* Sends all of memory again and again, until that fails. */
static int submit_until_it_fails(struct lanes_pair *pair, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    int result;
    do {
        result = lanes_pair_submit(pair, ALL, err);
    } while (result == 1 && clock_monotonic_ns() < deadline);
    return result;
}

static int check_until_it_fails(struct lanes_pair *pair, struct error *err)
{
    const struct engine_arrivals *arrivals = &pair->destination->engine;
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    int result;
    do {
        result = arrivals->operations->check(arrivals->arrivals, err);
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    } while (result == 0 && clock_monotonic_ns() < deadline);
    return result;
}

/* ---- cut in the middle of a round ---- */

static void a_cut_is_told_on_both_sides(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    unsigned lanes;
    pair->setup.options.channels = 4;
    assert_int_equal(lanes_pair_open(pair, 3, 3), 1);
    lanes_pair_fill(pair, ALL, false);
    assert_int_equal(lanes_pair_submit(pair, ALL, &err), 1);
    shutdown(pair->source->lane[1].channel.fd, SHUT_RDWR);
    assert_true(submit_until_it_fails(pair, &err) < 0);
    assert_non_null(strstr(err.message, "connection 2 of the move, to 127.0.0.1, failed"));
    assert_true(pair->source->engine.operations->end_round(pair->source, 1, 0, &lanes, &err) < 0);
    assert_int_equal(check_until_it_fails(pair, &err), -ECONNRESET);
    assert_non_null(strstr(err.message, "connection 2 of the move"));
}

static void a_destination_that_hangs_up_is_noticed(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    pair->setup.options.channels = 3;
    assert_int_equal(lanes_pair_open(pair, 2, 2), 1);
    destination_lanes_free(pair->destination);
    pair->destination = NULL;
    lanes_pair_fill(pair, ALL, false);
    assert_true(submit_until_it_fails(pair, &err) < 0);
    assert_true(err.code == ECONNRESET || err.code == EPIPE);
}

/* What a destination does at STATE_END, were the source to send on: it waits for nobody. */
static void lanes_close_while_they_receive(void **state)
{
    struct lanes_pair *pair = *state;
    const struct engine_arrivals *arrivals = &pair->destination->engine;
    struct error err = ERROR_NONE;
    pair->setup.options.channels = 4;
    assert_int_equal(lanes_pair_open(pair, 3, 3), 1);
    lanes_pair_fill(pair, ALL, false);
    assert_int_equal(lanes_pair_submit(pair, ALL, &err), 1);
    arrivals->operations->close(arrivals->arrivals);
    memset(pair->copy, 0, LANES_PAIR_MEMORY);
    page_set_done(&pair->received);
    clock_sleep_ns(20 * NANOSECONDS_PER_MILLISECOND);
    for (uint64_t i = 0; i < LANES_PAIR_MEMORY; i += ENGINE_PAGE_SIZE) {
        assert_int_equal(pair->copy[i], 0);
    }
}

/* As when a move is given up: what was lent is freed right after. */
static void lanes_close_while_they_send(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    pair->setup.options.channels = 4;
    assert_int_equal(lanes_pair_open(pair, 3, 3), 1);
    lanes_pair_fill(pair, ALL, false);
    assert_int_equal(lanes_pair_submit(pair, ALL, &err), 1);
    pair->source->engine.operations->close(pair->source);
    page_set_done(&pair->delivered);
    assert_true(pair->source->engine.operations->bytes_sent(pair->source) > 0);
}

/* ---- a destination that does not read ---- */

/* Lets one connection in by hand. */
static int admit(struct lanes_pair *pair)
{
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    unsigned channel, count;
    struct handshake_terms terms = {pair->setup.token, pair->setup.move_id, LANES_PAIR_MEMORY};
    struct socket_channel channel_of = {0};
    int fd = socket_accept(pair->setup.listen_fds[0], PATIENCE_NS, NULL);
    assert_true(fd >= 0);
    socket_channel_init(&channel_of, fd, NULL);
    struct stream stream = {.channel = &channel_of.channel, .peer = "source"};
    assert_int_equal(handshake_await(&stream, WIRE_HELLO, PATIENCE_NS, body, &length, NULL), 0);
    assert_int_equal(handshake_check_hello(&terms, body, length, &channel, &count, NULL), 0);
    assert_int_equal(handshake_send_welcome(&stream, &terms, 64, NULL), 0);
    return fd;
}

struct opening {
    struct lanes_pair *pair;
    unsigned most;
    int result;
};

static void *open_source(void *argument)
{
    struct opening *opening = argument;
    struct engine_lanes *lanes = &opening->pair->source->engine;
    opening->result =
        lanes->operations->open(lanes->lanes, opening->most, &opening->pair->terms, NULL);
    return NULL;
}

static void open_by_hand(struct lanes_pair *pair, unsigned most, int *ret_fds)
{
    struct opening opening = {.pair = pair, .most = most};
    pthread_t thread;
    pair->setup.options.channels = most + 1;
    pthread_create(&thread, NULL, open_source, &opening);
    for (unsigned i = 0; i < most; i++) {
        ret_fds[i] = admit(pair);
    }
    pthread_join(thread, NULL);
    assert_int_equal(opening.result, 1);
}

static void *read_all(void *argument)
{
    static _Thread_local uint8_t bytes[1 << 16];
    int fd = *(int *)argument;
    while (socket_wait_readable(fd, PATIENCE_NS) == 1 && recv(fd, bytes, sizeof(bytes), 0) > 0) {
    }
    return NULL;
}

/* One network stands still: the other carries the rest, far more than buffers take. */
static void no_lane_waits_for_another(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    pthread_t reader;
    int fds[2];
    open_by_hand(pair, 2, fds);
    pthread_create(&reader, NULL, read_all, &fds[1]);
    lanes_pair_fill(pair, ALL, false);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(lanes_pair_submit(pair, ALL, &err), 1);
    }
    source_lanes_free(pair->source);
    pair->source = NULL;
    pthread_join(reader, NULL);
    close(fds[0]);
    close(fds[1]);
}

static void a_cancel_ends_a_send_that_is_stuck(void **state)
{
    struct lanes_pair *pair = *state;
    struct error err = ERROR_NONE;
    int fd;
    lanes_pair_fill(pair, ALL, false);
    open_by_hand(pair, 1, &fd);
    atomic_store(&pair->cancelled, true);
    assert_int_equal(submit_until_it_fails(pair, &err), -ECANCELED);
    close(fd);
}

/* ---- never there ---- */

/* A port whose backlog is full: nobody who connects there gets an answer. */
static int fill_backlog(int listener, uint16_t port, int *fds, unsigned most)
{
    listen(listener, 0);
    for (unsigned i = 0; i < most; i++) {
        fds[i] = socket_connect_begin("", "127.0.0.1", port, NULL);
        if (socket_connect_end(fds[i], "", port, 100 * NANOSECONDS_PER_MILLISECOND, NULL) < 0) {
            return (int)i + 1;
        }
    }
    return -1;
}

static void a_lane_that_still_connects_delays_no_end(void **state)
{
    struct lanes_pair *pair = *state;
    uint16_t port;
    int fds[16];
    CLEANUP_CLOSE int listener = socket_listen_tcp("127.0.0.1", 0, &port, NULL);
    int count = fill_backlog(listener, port, fds, 16);
    assert_true(count > 0);
    lanes_pair_add_path(pair, port);
    assert_int_equal(lanes_pair_open(pair, 2, 1), 1);
    assert_int_equal(pair->source->lane[0].state, SOURCE_LANE_CONNECTING);
    uint64_t began_ns = clock_monotonic_ns();
    pair->source->engine.operations->close(pair->source);
    assert_true(clock_monotonic_ns() - began_ns < SOURCE_LANES_CONNECT_NS / 2);
    while (count > 0) {
        close(fds[--count]);
    }
}

static void what_was_never_opened_is_freed(void **state)
{
    struct lanes_pair *pair = *state;
    pair->source->engine.operations->close(pair->source);
    pair->destination->engine.operations->close(pair->destination);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, lanes_pair_set_up, lanes_pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cut_is_told_on_both_sides),
        TEST(a_destination_that_hangs_up_is_noticed),
        TEST(lanes_close_while_they_receive),
        TEST(lanes_close_while_they_send),
        TEST(no_lane_waits_for_another),
        TEST(a_cancel_ends_a_send_that_is_stuck),
        TEST(a_lane_that_still_connects_delays_no_end),
        TEST(what_was_never_opened_is_freed),
    };
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    return cmocka_run_group_tests_name("mover/lanes-end", tests, NULL, NULL);
}
