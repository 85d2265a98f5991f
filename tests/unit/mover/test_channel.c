/* The TCP channel and the lobby before it, over loopback. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/socket.h"
#include "channel_bytes.h"
#include "mover/lobby.h"
#include "mover/socket_channel.h"

#define LARGE ((size_t)8 << 20) /* more than any socket buffer takes */
#define PATIENCE_NS (10 * NANOSECONDS_PER_SECOND)

struct pair {
    struct socket_channel near;
    struct socket_channel far;
    atomic_bool cancelled;
    uint16_t port;
    int listener;
};

static int set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    pair->listener = socket_listen_tcp("127.0.0.1", 0, &pair->port, NULL);
    int near = socket_connect_tcp("127.0.0.1", pair->port, PATIENCE_NS, NULL);
    int far = socket_accept(pair->listener, PATIENCE_NS, NULL);
    assert_true(near >= 0 && far >= 0);
    socket_channel_init(&pair->near, near, &pair->cancelled);
    socket_channel_init(&pair->far, far, NULL);
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    socket_channel_done(&pair->near);
    socket_channel_done(&pair->far);
    close(pair->listener);
    free(pair);
    return 0;
}

struct reader {
    struct socket_channel *socket;
    uint8_t *bytes;
    int result;
};

static void *read_large(void *argument)
{
    struct reader *reader = argument;
    reader->result = receive_bytes(reader->socket, reader->bytes, 2 * LARGE, NULL);
    return NULL;
}

static void pieces_and_files_arrive_in_order(void **state)
{
    struct pair *pair = *state;
    uint8_t *sent = malloc(LARGE);
    struct reader reader = {&pair->far, malloc(2 * LARGE), 1};
    CLEANUP_CLOSE int file = memfd_create("channel", MFD_CLOEXEC);
    random_bytes(sent, LARGE);
    assert_int_equal(pwrite(file, sent, LARGE, 4096), LARGE);
    pthread_t thread;
    pthread_create(&thread, NULL, read_large, &reader);
    const struct engine_channel_operations *operations = pair->near.channel.operations;
    struct iovec pieces[] = {{sent, 3}, {sent + 3, 0}, {sent + 3, LARGE - 3}};
    assert_int_equal(operations->send(&pair->near, pieces, 3, true, NULL), 0);
    assert_int_equal(operations->send_file(&pair->near, file, 4096, LARGE, false, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(reader.result, 0);
    assert_memory_equal(reader.bytes, sent, LARGE);
    assert_memory_equal(reader.bytes + LARGE, sent, LARGE);
    free(sent);
    free(reader.bytes);
}

static void an_end_is_a_reset(void **state)
{
    struct pair *pair = *state;
    char byte;
    assert_int_equal(send_bytes(&pair->near, "x", 1, false, NULL), 0);
    socket_channel_done(&pair->near);
    assert_int_equal(receive_bytes(&pair->far, &byte, 1, NULL), 0);
    assert_int_equal(receive_bytes(&pair->far, &byte, 1, NULL), -ECONNRESET);
}

static void a_peer_that_stalls_is_gone(void **state)
{
    struct pair *pair = *state;
    uint8_t *bytes = calloc(1, 4 * LARGE);
    pair->near.stall_limit_ns = 50 * NANOSECONDS_PER_MILLISECOND;
    assert_int_equal(send_bytes(&pair->near, bytes, 4 * LARGE, false, NULL), -ETIMEDOUT);
    assert_true(pair->near.channel.operations->queued(&pair->near) > 0);
    free(bytes);
}

/* The guest's time, not the connection's, says how long to wait. */
static void a_peer_that_stalls_is_gone_sooner_while_a_guest_stands(void **state)
{
    struct pair *pair = *state;
    uint8_t *bytes = calloc(1, 4 * LARGE);
    atomic_bool stands = true;
    uint64_t *limits[] = {&pair->near.hurry_limit_ns, &pair->near.stall_limit_ns};
    pair->near.in_hurry = &stands;
    for (int i = 0; i < 2; i++) {
        uint64_t began = clock_monotonic_ns();
        *limits[i] = 50 * NANOSECONDS_PER_MILLISECOND;
        *limits[1 - i] = 20 * PATIENCE_NS;
        assert_int_equal(send_bytes(&pair->near, bytes, 4 * LARGE, false, NULL), -ETIMEDOUT);
        assert_true(clock_monotonic_ns() - began < *limits[1 - i]);
        atomic_store(&stands, false);
    }
    free(bytes);
}

static void a_cancelled_move_waits_for_nobody_but_has_a_last_word(void **state)
{
    struct pair *pair = *state;
    uint8_t *bytes = calloc(1, 4 * LARGE);
    char word[4];
    atomic_store(&pair->cancelled, true);
    assert_int_equal(send_bytes(&pair->near, "bye", 4, false, NULL), 0);
    assert_int_equal(receive_bytes(&pair->far, word, 4, NULL), 0);
    assert_int_equal(send_bytes(&pair->near, bytes, 4 * LARGE, false, NULL), -ECANCELED);
    free(bytes);
}

static void waiting_ends_with_bytes_or_time(void **state)
{
    struct pair *pair = *state;
    const struct engine_channel_operations *operations = pair->far.channel.operations;
    assert_int_equal(operations->wait_readable(&pair->far, 1000, NULL), 0);
    assert_int_equal(send_bytes(&pair->near, "x", 1, false, NULL), 0);
    assert_int_equal(operations->wait_readable(&pair->far, PATIENCE_NS, NULL), 1);
}

static int knock(const struct pair *pair)
{
    int fd = socket_connect_tcp("127.0.0.1", pair->port, PATIENCE_NS, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void who_speaks_first_is_let_in(void **state)
{
    struct pair *pair = *state;
    CLEANUP_LOBBY struct lobby lobby;
    struct secure_stream *none;
    int silent[2 * LOBBY_SEATS];
    char word[5] = "";
    lobby_init(&lobby, &pair->listener, 1, NULL);
    for (size_t i = 0; i < 2 * LOBBY_SEATS; i++) { /* more than there are seats */
        silent[i] = knock(pair);
    }
    assert_int_equal(lobby_wait(&lobby, 10 * NANOSECONDS_PER_MILLISECOND, &none, NULL), -EAGAIN);
    assert_int_equal(lobby.taken, LOBBY_SEATS);
    CLEANUP_CLOSE int speaker = knock(pair);
    assert_int_equal(write(speaker, "here", 4), 4);
    CLEANUP_CLOSE int heard = lobby_wait(&lobby, PATIENCE_NS, &none, NULL);
    assert_true(heard >= 0);
    assert_int_equal(read(heard, word, 4), 4);
    assert_string_equal(word, "here");
    for (size_t i = 0; i < 2 * LOBBY_SEATS; i++) {
        close(silent[i]);
    }
}

static void the_lobby_has_several_doors(void **state)
{
    CLEANUP_LOBBY struct lobby lobby;
    struct secure_stream *none;
    uint16_t ports[2];
    int listeners[2];
    for (size_t i = 0; i < 2; i++) {
        listeners[i] = socket_listen_tcp("127.0.0.1", 0, &ports[i], NULL);
        assert_true(listeners[i] >= 0);
    }
    (void)state;
    lobby_init(&lobby, listeners, 2, NULL);
    for (size_t i = 0; i < 2; i++) {
        CLEANUP_CLOSE int speaker = socket_connect_tcp("127.0.0.1", ports[i], PATIENCE_NS, NULL);
        assert_int_equal(write(speaker, "here", 4), 4);
        CLEANUP_CLOSE int heard = lobby_wait(&lobby, PATIENCE_NS, &none, NULL);
        assert_true(heard >= 0);
    }
    close(listeners[0]);
    close(listeners[1]);
}

int main(void)
{
#define WITH_PAIR(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_PAIR(pieces_and_files_arrive_in_order),
        WITH_PAIR(an_end_is_a_reset),
        WITH_PAIR(a_peer_that_stalls_is_gone),
        WITH_PAIR(a_peer_that_stalls_is_gone_sooner_while_a_guest_stands),
        WITH_PAIR(a_cancelled_move_waits_for_nobody_but_has_a_last_word),
        WITH_PAIR(waiting_ends_with_bytes_or_time),
        WITH_PAIR(who_speaks_first_is_let_in),
        cmocka_unit_test(the_lobby_has_several_doors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
