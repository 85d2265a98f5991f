/* The channel over TLS, over loopback, and the lobby before it. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/socket.h"
#include "channel_bytes.h"
#include "mover/lobby.h"
#include "mover/secure_channel.h"

#define LARGE ((size_t)8 << 20) /* more than any socket buffer takes */
#define PATIENCE_NS (20 * NANOSECONDS_PER_SECOND)
#define KEY ((const uint8_t *)"thirty-two bytes, known to two..")
#define OTHER_KEY ((const uint8_t *)"thirty-two bytes, known to three")
#define MOVE "00000000-0000-4000-8000-000000000001"

/* The near end is a source's, the far one came through a destination's lobby. */
struct pair {
    struct secure_context *client, *server;
    struct socket_channel near, far;
    struct lobby lobby;
    atomic_bool cancelled;
    uint16_t port;
    int listener;
};

static struct secure_context *make_context(enum secure_role role, const uint8_t *key)
{
    struct secure_context *context;
    assert_int_equal(secure_context_new(role, key, MOVE, &context, NULL), 0);
    return context;
}

static int set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    pair->listener = socket_listen_tcp("127.0.0.1", 0, &pair->port, NULL);
    assert_true(pair->listener >= 0);
    pair->client = make_context(SECURE_CLIENT, KEY);
    pair->server = make_context(SECURE_SERVER, KEY);
    pair->near.fd = pair->far.fd = -1;
    lobby_init(&pair->lobby, &pair->listener, 1, pair->server);
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    socket_channel_done(&pair->near);
    socket_channel_done(&pair->far);
    lobby_done(&pair->lobby);
    secure_context_free(pair->client);
    secure_context_free(pair->server);
    close(pair->listener);
    free(pair);
    return 0;
}

static int knock(const struct pair *pair)
{
    int fd = socket_connect_tcp("127.0.0.1", pair->port, PATIENCE_NS, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void *let_in(void *argument)
{
    struct pair *pair = argument;
    struct secure_stream *secure = NULL;
    int fd = lobby_wait(&pair->lobby, PATIENCE_NS, &secure, NULL);
    if (fd >= 0) {
        socket_channel_init(&pair->far, fd, NULL);
        secure_channel_adopt(&pair->far, secure);
    }
    return NULL;
}

static void meet(struct pair *pair)
{
    pthread_t thread;
    pthread_create(&thread, NULL, let_in, pair);
    socket_channel_init(&pair->near, knock(pair), &pair->cancelled);
    assert_int_equal(secure_channel_greet(&pair->near, pair->client, NULL), 0);
    pthread_join(thread, NULL);
    assert_true(pair->far.fd >= 0);
}

static int set_up_met(void **state)
{
    set_up(state);
    meet(*state);
    return 0;
}

/* ---- what it carries ---- */

struct reader {
    struct socket_channel *socket;
    uint8_t *bytes;
    size_t length;
    int result;
};

static void *read_large(void *argument)
{
    struct reader *reader = argument;
    reader->result = receive_bytes(reader->socket, reader->bytes, reader->length, NULL);
    return NULL;
}

static void pieces_arrive_in_order(void **state)
{
    struct pair *pair = *state;
    uint8_t *sent = malloc(LARGE);
    struct reader reader = {&pair->far, malloc(2 * LARGE), 2 * LARGE, 1};
    pthread_t thread;
    random_bytes(sent, LARGE);
    pthread_create(&thread, NULL, read_large, &reader);
    const struct engine_channel_operations *operations = pair->near.channel.operations;
    struct iovec pieces[] = {
        {sent, 3}, {sent + 3, 0}, {sent + 3, 4096}, {sent + 4099, LARGE - 4099}};
    assert_int_equal(operations->send(&pair->near, pieces, 4, true, NULL), 0);
    assert_int_equal(send_bytes(&pair->near, sent, LARGE, false, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(reader.result, 0);
    assert_memory_equal(reader.bytes, sent, LARGE);
    assert_memory_equal(reader.bytes + LARGE, sent, LARGE);
    assert_int_equal(pair->near.bytes_sent, 2 * LARGE);
    free(sent);
    free(reader.bytes);
}

/* What is held back for more goes with it, and nothing is left behind. */
static void what_waits_for_more_comes_with_it(void **state)
{
    struct pair *pair = *state;
    const struct engine_channel_operations *operations = pair->far.channel.operations;
    char word[7] = "";
    assert_int_equal(send_bytes(&pair->near, "abc", 3, true, NULL), 0);
    assert_int_equal(operations->wait_readable(&pair->far, NANOSECONDS_PER_MILLISECOND, NULL), 0);
    assert_int_equal(send_bytes(&pair->near, "def", 3, false, NULL), 0);
    assert_int_equal(operations->wait_readable(&pair->far, PATIENCE_NS, NULL), 1);
    assert_int_equal(receive_bytes(&pair->far, word, 6, NULL), 0);
    assert_string_equal(word, "abcdef");
}

static void facts_say_how_it_is_protected(void **state)
{
    struct pair *pair = *state;
    struct socket_channel plain = {.fd = -1};
    struct secure_channel_facts facts = secure_channel_facts(&pair->near);
    assert_true(facts.encrypted);
    assert_non_null(facts.cipher);
    assert_true(facts.in_kernel == (pair->near.channel.operations->send_file != NULL));
    assert_false(secure_channel_facts(&plain).encrypted);
}

/* A guest's memory is a file with holes; when the tmpfs is full that must be an error, no signal.
 */
static void a_hole_without_room_is_an_error(void **state)
{
    struct pair *pair = *state;
    size_t length = (size_t)1 << 20;
    struct error err = ERROR_NONE;
    char folder[] = "/tmp/drover-test-full-XXXXXX";
    char path[64];
    if (geteuid() != 0 || !mkdtemp(folder) ||
        mount("tmpfs", folder, "tmpfs", 0, "size=256k,huge=never") < 0) {
        skip(); /* no root, no tmpfs */
    }
    snprintf(path, sizeof(path), "%s/ram", folder);
    CLEANUP_FILE FILE *file = fopen(path, "w+e");
    assert_int_equal(ftruncate(fileno(file), (off_t)length), 0);
    uint8_t *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    umount2(folder, MNT_DETACH);
    rmdir(folder);
    assert_true(memory != MAP_FAILED);
    uint8_t *content = malloc(length);
    random_bytes(content, length);
    assert_int_equal(send_bytes(&pair->near, content, 65536, false, NULL), 0);
    assert_int_equal(receive_bytes(&pair->far, memory, 65536, &err), 0); /* there is room for it */
    assert_memory_equal(memory, content, 65536);
    assert_int_equal(send_bytes(&pair->near, content, 4096, false, NULL), 0);
    assert_int_equal(receive_bytes(&pair->far, memory, length, &err), -EFAULT);
    munmap(memory, length);
    free(content);
}

/* ---- waiting ---- */

static void a_peer_that_stalls_is_gone(void **state)
{
    struct pair *pair = *state;
    uint8_t *bytes = calloc(1, 4 * LARGE);
    pair->near.stall_limit_ns = 50 * NANOSECONDS_PER_MILLISECOND;
    assert_int_equal(send_bytes(&pair->near, bytes, 4 * LARGE, false, NULL), -ETIMEDOUT);
    assert_true(pair->near.channel.operations->queued(&pair->near) > 0);
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

static void an_end_is_a_reset(void **state)
{
    struct pair *pair = *state;
    char byte;
    assert_int_equal(send_bytes(&pair->near, "x", 1, false, NULL), 0);
    socket_channel_done(&pair->near);
    assert_int_equal(receive_bytes(&pair->far, &byte, 1, NULL), 0);
    assert_int_equal(receive_bytes(&pair->far, &byte, 1, NULL), -ECONNRESET);
}

/* Somebody accepts and never says a word. */
static void a_greeting_can_be_cancelled(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_NONE;
    atomic_store(&pair->cancelled, true);
    socket_channel_init(&pair->near, knock(pair), &pair->cancelled);
    assert_int_equal(secure_channel_greet(&pair->near, pair->client, &err), -ECANCELED);
    assert_null(pair->near.secure);
}

/* ---- the lobby ---- */

static void who_has_the_key_is_let_in_among_strangers(void **state)
{
    struct pair *pair = *state;
    int strangers[2 * LOBBY_SEATS];
    struct secure_stream *secure;
    for (size_t i = 0; i < 2 * LOBBY_SEATS; i++) { /* more than there are seats */
        strangers[i] = knock(pair);
        if (i % 2) {
            assert_int_equal(write(strangers[i], "GET / HTTP/1.1\r\n\r\n", 18), 18);
        }
    }
    assert_int_equal(lobby_wait(&pair->lobby, 50 * NANOSECONDS_PER_MILLISECOND, &secure, NULL),
                     -EAGAIN);
    assert_in_range(pair->lobby.taken, 1, LOBBY_SEATS);
    assert_true(pair->lobby.turned_away >= LOBBY_SEATS);
    meet(pair);
    for (size_t i = 0; i < 2 * LOBBY_SEATS; i++) {
        close(strangers[i]);
    }
}

static void nobody_stays_for_ever(void **state)
{
    struct pair *pair = *state;
    struct secure_stream *secure;
    uint64_t slice_ns = 10 * NANOSECONDS_PER_MILLISECOND;
    CLEANUP_CLOSE int silent = knock(pair);
    assert_int_equal(lobby_wait(&pair->lobby, slice_ns, &secure, NULL), -EAGAIN);
    assert_int_equal(pair->lobby.taken, 1);
    pair->lobby.seats[0].taken_ns -= LOBBY_PATIENCE_NS; /* so long has it been there */
    assert_int_equal(lobby_wait(&pair->lobby, slice_ns, &secure, NULL), -EAGAIN);
    assert_int_equal(pair->lobby.taken, 0);
    char byte;
    assert_int_equal(read(silent, &byte, 1), 0);
}

/* One step of a handshake, over a socket that does not block. */
static struct secure_stream *begin_greeting(struct pair *pair, struct socket_channel *channel)
{
    struct secure_stream *stream;
    socket_channel_init(channel, knock(pair), NULL);
    assert_int_equal(secure_stream_new(pair->client, channel->fd, &stream, NULL), 0);
    assert_int_equal(secure_stream_handshake(stream, NULL), -EAGAIN);
    return stream;
}

/* A flood comes while the true source waits for the server's answer. */
static void a_flood_does_not_drive_out_who_is_about_to_come_in(void **state)
{
    struct pair *pair = *state;
    int flood[4 * LOBBY_SEATS];
    struct secure_stream *secure = NULL;
    struct secure_stream *stream = begin_greeting(pair, &pair->near);
    assert_int_equal(lobby_wait(&pair->lobby, 20 * NANOSECONDS_PER_MILLISECOND, &secure, NULL),
                     -EAGAIN);
    for (size_t i = 0; i < 4 * LOBBY_SEATS; i++) {
        flood[i] = knock(pair);
        lobby_wait(&pair->lobby, NANOSECONDS_PER_MILLISECOND, &secure, NULL);
    }
    assert_int_equal(secure_stream_handshake(stream, NULL), 0);
    int fd = lobby_wait(&pair->lobby, PATIENCE_NS, &secure, NULL);
    assert_true(fd >= 0);
    socket_channel_init(&pair->far, fd, NULL);
    secure_channel_adopt(&pair->far, secure);
    secure_channel_adopt(&pair->near, stream);
    assert_int_equal(send_bytes(&pair->near, "x", 1, false, NULL), 0);
    char byte;
    assert_int_equal(receive_bytes(&pair->far, &byte, 1, NULL), 0);
    for (size_t i = 0; i < 4 * LOBBY_SEATS; i++) {
        close(flood[i]);
    }
}

static void a_wrong_key_is_turned_away(void **state)
{
    struct pair *pair = *state;
    struct error err = ERROR_NONE;
    pthread_t thread;
    secure_context_free(pair->client);
    pair->client = make_context(SECURE_CLIENT, OTHER_KEY);
    pthread_create(&thread, NULL, let_in, pair);
    socket_channel_init(&pair->near, knock(pair), NULL);
    assert_true(secure_channel_greet(&pair->near, pair->client, &err) < 0);
    socket_channel_done(&pair->near);
    secure_context_free(pair->client);
    pair->client = make_context(SECURE_CLIENT, KEY);
    socket_channel_init(&pair->near, knock(pair), NULL);
    assert_int_equal(secure_channel_greet(&pair->near, pair->client, &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(pair->lobby.turned_away, 1);
}

#define MET(test) cmocka_unit_test_setup_teardown(test, set_up_met, tear_down)
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MET(pieces_arrive_in_order),
        MET(what_waits_for_more_comes_with_it),
        MET(facts_say_how_it_is_protected),
        MET(a_hole_without_room_is_an_error),
        MET(a_peer_that_stalls_is_gone),
        MET(a_cancelled_move_waits_for_nobody_but_has_a_last_word),
        MET(an_end_is_a_reset),
        TEST(a_greeting_can_be_cancelled),
        TEST(who_has_the_key_is_let_in_among_strangers),
        TEST(nobody_stays_for_ever),
        TEST(a_flood_does_not_drive_out_who_is_about_to_come_in),
        TEST(a_wrong_key_is_turned_away),
    };
    signal(SIGPIPE, SIG_IGN); /* kernel TLS has no MSG_NOSIGNAL */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
