/* TLS with a key that both ends have: over real sockets, both ends in one thread. */
#include "test.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/secure_stream.h"
#include "base/socket.h"

#define PATIENCE_NS (20 * NANOSECONDS_PER_SECOND)
#define LARGE ((size_t)4 << 20)
#define MOVE "00000000-0000-4000-8000-000000000001"

/* A TCP connection, and what each end makes of it. */
struct ends {
    int near_fd, far_fd;
    struct secure_context *client, *server;
    struct secure_stream *near, *far;
    struct error near_error, far_error;
    int near_result, far_result;
};

static uint8_t key_of(const char *name, uint8_t key[SECURE_KEY_SIZE])
{
    memset(key, 0, SECURE_KEY_SIZE);
    return (uint8_t)snprintf((char *)key, SECURE_KEY_SIZE, "the key of %s", name);
}

static struct secure_context *make_context(enum secure_role role, const char *key_name,
                                           const char *identity)
{
    uint8_t key[SECURE_KEY_SIZE];
    struct secure_context *context = NULL;
    key_of(key_name, key);
    assert_int_equal(secure_context_new(role, key, identity, &context, NULL), 0);
    return context;
}

static void connect_pair(int *ret_near, int *ret_far)
{
    uint16_t port;
    CLEANUP_CLOSE int listener = socket_listen_tcp("127.0.0.1", 0, &port, NULL);
    *ret_near = socket_connect_tcp("127.0.0.1", port, PATIENCE_NS, NULL);
    *ret_far = socket_accept(listener, PATIENCE_NS, NULL);
    assert_true(*ret_near >= 0 && *ret_far >= 0);
    fcntl(*ret_near, F_SETFL, O_NONBLOCK);
    fcntl(*ret_far, F_SETFL, O_NONBLOCK);
}

static struct ends *ends_new(struct secure_context *client, struct secure_context *server)
{
    struct ends *ends = calloc(1, sizeof(*ends));
    connect_pair(&ends->near_fd, &ends->far_fd);
    ends->client = client;
    ends->server = server;
    if (client) {
        assert_int_equal(secure_stream_new(client, ends->near_fd, &ends->near, NULL), 0);
    }
    assert_int_equal(secure_stream_new(server, ends->far_fd, &ends->far, NULL), 0);
    return ends;
}

static void ends_free(struct ends *ends)
{
    secure_stream_free(ends->near);
    secure_stream_free(ends->far);
    close_fd(&ends->near_fd);
    close_fd(&ends->far_fd);
    secure_context_free(ends->client);
    secure_context_free(ends->server);
    free(ends);
}

static void end_cleanup(struct ends **ends)
{
    ends_free(*ends);
}
#define CLEANUP_ENDS CLEANUP(end_cleanup)

/* Until both ends know, or the far one alone when there is no near stream. */
static void shake_hands(struct ends *ends)
{
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    ends->near_result = ends->near ? -EAGAIN : 0;
    ends->far_result = -EAGAIN;
    while ((ends->near_result == -EAGAIN || ends->far_result == -EAGAIN) &&
           clock_monotonic_ns() < deadline) {
        if (ends->near_result == -EAGAIN) {
            ends->near_result = secure_stream_handshake(ends->near, &ends->near_error);
        }
        if (ends->far_result == -EAGAIN) {
            ends->far_result = secure_stream_handshake(ends->far, &ends->far_error);
        }
        if (ends->far_result < 0 && ends->far_result != -EAGAIN) {
            shutdown(ends->far_fd, SHUT_RDWR); /* hangs up, as a lobby does */
        }
    }
}

static struct ends *established(void)
{
    struct ends *ends = ends_new(make_context(SECURE_CLIENT, "a move", MOVE),
                                 make_context(SECURE_SERVER, "a move", MOVE));
    shake_hands(ends);
    assert_int_equal(ends->near_result, 0);
    assert_int_equal(ends->far_result, 0);
    return ends;
}

/* ---- who may come ---- */

static void the_right_key_opens(void **state)
{
    CLEANUP_ENDS struct ends *ends = established();
    (void)state;
    assert_non_null(strstr(secure_stream_cipher(ends->near), "TLS_"));
    assert_string_equal(secure_stream_cipher(ends->near), secure_stream_cipher(ends->far));
    assert_int_equal(secure_stream_write(ends->near, "hello", 5, NULL), 5);
    assert_int_equal(secure_stream_flush(ends->near, NULL), 0);
    char word[6] = "";
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    assert_int_equal(secure_stream_read(ends->far, word, 5, NULL), 5);
    assert_string_equal(word, "hello");
}

static void assert_refused(struct secure_context *client)
{
    CLEANUP_ENDS struct ends *ends = ends_new(client, make_context(SECURE_SERVER, "a move", MOVE));
    shake_hands(ends);
    assert_int_equal(ends->far_result, -EACCES);
    assert_true(ends->near_result == -EACCES || ends->near_result == -ECONNRESET);
    assert_non_null(strstr(ends->far_error.message, "key"));
}

static void a_wrong_key_is_refused(void **state)
{
    (void)state;
    assert_refused(make_context(SECURE_CLIENT, "somebody else", MOVE));
}

static void another_moves_key_is_refused(void **state)
{
    (void)state;
    assert_refused(make_context(SECURE_CLIENT, "a move", "00000000-0000-4000-8000-000000000002"));
}

static void a_forgotten_key_opens_nothing(void **state)
{
    struct secure_context *server = make_context(SECURE_SERVER, "a move", MOVE);
    (void)state;
    secure_context_forget(server);
    CLEANUP_ENDS struct ends *ends = ends_new(make_context(SECURE_CLIENT, "a move", MOVE), server);
    shake_hands(ends);
    assert_int_equal(ends->far_result, -EACCES);
}

/* The client is one of OpenSSL's, without a key, that trusts everybody. */
static void no_key_is_refused(void **state)
{
    CLEANUP_ENDS struct ends *ends = ends_new(NULL, make_context(SECURE_SERVER, "a move", MOVE));
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *client = SSL_new(context);
    (void)state;
    SSL_set_fd(client, ends->near_fd);
    assert_int_equal(SSL_connect(client), -1);
    shake_hands(ends);
    assert_int_equal(ends->far_result, -EACCES);
    assert_false(secure_stream_is_promising(ends->far));
    SSL_free(client);
    SSL_CTX_free(context);
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

/* Somebody in between, who has no key but a certificate: the client must not talk to him. */
static void a_certificate_is_no_key(void **state)
{
    CLEANUP_ENDS struct ends *ends = ends_new(make_context(SECURE_CLIENT, "a move", MOVE),
                                              make_context(SECURE_SERVER, "a move", MOVE));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    (void)state;
    assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    SSL *server = SSL_new(context);
    SSL_set_fd(server, ends->far_fd);
    assert_int_equal(secure_stream_handshake(ends->near, NULL), -EAGAIN);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    assert_int_equal(SSL_accept(server), -1); /* it has answered, with its certificate */
    assert_int_equal(socket_wait_readable(ends->near_fd, PATIENCE_NS), 1);
    assert_int_equal(secure_stream_handshake(ends->near, &ends->near_error), -EACCES);
    SSL_free(server);
    SSL_CTX_free(context);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void assert_far_end_refuses(const void *bytes, size_t length, bool then_close, int expected)
{
    CLEANUP_ENDS struct ends *ends = ends_new(NULL, make_context(SECURE_SERVER, "a move", MOVE));
    assert_int_equal(write(ends->near_fd, bytes, length), length);
    if (then_close) {
        close_fd(&ends->near_fd);
    }
    shake_hands(ends);
    assert_int_equal(ends->far_result, expected);
}

static void garbage_is_refused(void **state)
{
    uint8_t noise[4096];
    (void)state;
    random_bytes(noise, sizeof(noise));
    noise[0] = 0x22; /* no record of TLS's; a lucky first byte would only wait for more */
    assert_far_end_refuses(noise, sizeof(noise), false, -EACCES);
    assert_far_end_refuses("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, false, -EACCES);
    assert_far_end_refuses("DVR1 a HELLO in clear...................", 40, false, -EACCES);
}

/* A record that announces more than a record may have. */
static void an_oversized_record_is_refused(void **state)
{
    uint8_t record[5 + 64] = {22, 3, 1, 0xff, 0xff};
    (void)state;
    assert_far_end_refuses(record, sizeof(record), false, -EACCES);
}

static void a_truncated_greeting_is_a_lost_connection(void **state)
{
    uint8_t record[5 + 16] = {22, 3, 1, 0, 200, 1, 0, 0, 196};
    (void)state;
    assert_far_end_refuses(record, sizeof(record), true, -ECONNRESET);
}

static void silence_only_waits(void **state)
{
    CLEANUP_ENDS struct ends *ends = ends_new(NULL, make_context(SECURE_SERVER, "a move", MOVE));
    (void)state;
    assert_int_equal(secure_stream_handshake(ends->far, NULL), -EAGAIN);
    assert_int_equal(secure_stream_events(ends->far), POLLIN);
    assert_false(secure_stream_is_promising(ends->far));
}

/* ---- what passes ---- */

static bool step_out(struct secure_stream *stream, const uint8_t *bytes, size_t length,
                     size_t *sent)
{
    if (*sent < length) {
        size_t part = length - *sent < 100000 ? length - *sent : 100000;
        ssize_t done = secure_stream_write(stream, bytes + *sent, part, NULL);
        assert_true(done > 0 || done == -EAGAIN);
        *sent += done > 0 ? (size_t)done : 0;
        return false;
    }
    int result = secure_stream_flush(stream, NULL);
    assert_true(result == 0 || result == -EAGAIN);
    return result == 0;
}

static void step_in(struct secure_stream *stream, uint8_t *bytes, size_t length, size_t *received)
{
    if (*received < length) {
        ssize_t got = secure_stream_read(stream, bytes + *received, length - *received, NULL);
        assert_true(got > 0 || got == -EAGAIN);
        *received += got > 0 ? (size_t)got : 0;
    }
}

static void carry(struct secure_stream *from, struct secure_stream *to, size_t length)
{
    uint8_t *sent = malloc(length);
    uint8_t *received = calloc(1, length);
    size_t out = 0, in = 0;
    bool flushed = false;
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    random_bytes(sent, length);
    while (in < length && clock_monotonic_ns() < deadline) {
        flushed = flushed || step_out(from, sent, length, &out);
        step_in(to, received, length, &in);
    }
    assert_int_equal(in, length);
    assert_memory_equal(sent, received, length);
    free(sent);
    free(received);
}

static void all_lengths_pass_both_ways(void **state)
{
    static const size_t lengths[] = {1, 16383, 16384, 16385, 32768, 100001, LARGE};
    CLEANUP_ENDS struct ends *ends = established();
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        carry(ends->near, ends->far, lengths[i]);
        carry(ends->far, ends->near, lengths[i]);
    }
}

static void keys_change_on_the_way(void **state)
{
    CLEANUP_ENDS struct ends *ends = established();
    (void)state;
    secure_context_set_update(ends->client, 50000);
    carry(ends->near, ends->far, LARGE);
    carry(ends->far, ends->near, LARGE);
}

#define RECORD_COST 22     /* of a record of TLS 1.3's, beyond its content */
#define KEY_UPDATE_BYTES 5 /* the message's */

static int bytes_waiting(int fd, int expected)
{
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    int waiting = 0;
    while (waiting < expected && clock_monotonic_ns() < deadline) {
        assert_int_equal(ioctl(fd, FIONREAD, &waiting), 0);
    }
    return waiting;
}

/* Seen by what it adds on the wire. */
static void keys_change_after_so_many_bytes(void **state)
{
    CLEANUP_ENDS struct ends *ends = established();
    int expected = 4 * (1 + RECORD_COST) + KEY_UPDATE_BYTES + RECORD_COST;
    (void)state;
    secure_context_set_update(ends->client, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(secure_stream_write(ends->near, "x", 1, NULL), 1);
        assert_int_equal(secure_stream_flush(ends->near, NULL), 0);
    }
    assert_int_equal(bytes_waiting(ends->far_fd, expected), expected);
}

static void what_is_on_the_wire_is_not_the_content(void **state)
{
    static const char content[] = "a page of the guest's, with a secret in it";
    CLEANUP_ENDS struct ends *ends = established();
    char wire[256];
    (void)state;
    assert_int_equal(secure_stream_write(ends->near, content, sizeof(content), NULL),
                     sizeof(content));
    assert_int_equal(secure_stream_flush(ends->near, NULL), 0);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    ssize_t length = recv(ends->far_fd, wire, sizeof(wire), MSG_PEEK);
    assert_true(length > (ssize_t)sizeof(content));
    assert_null(memmem(wire, (size_t)length, content, 16));
}

static void a_part_of_a_record_is_not_readable_yet(void **state)
{
    CLEANUP_ENDS struct ends *ends = established();
    uint8_t wire[256];
    (void)state;
    assert_int_equal(secure_stream_is_readable(ends->far, NULL), 0);
    assert_int_equal(secure_stream_write(ends->near, "x", 1, NULL), 1);
    assert_int_equal(secure_stream_flush(ends->near, NULL), 0);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    ssize_t length = recv(ends->far_fd, wire, sizeof(wire), 0); /* take it off, and play it back */
    assert_true(length > 5);
    assert_int_equal(secure_stream_is_readable(ends->far, NULL), 0);
    assert_int_equal(write(ends->near_fd, wire, (size_t)length - 1), length - 1);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    assert_int_equal(secure_stream_is_readable(ends->far, NULL), 0);
    assert_int_equal(write(ends->near_fd, wire + length - 1, 1), 1);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    assert_int_equal(secure_stream_is_readable(ends->far, NULL), 1);
    char byte;
    assert_int_equal(secure_stream_read(ends->far, &byte, 1, NULL), 1);
    assert_int_equal(byte, 'x');
}

static void a_changed_byte_is_noticed(void **state)
{
    CLEANUP_ENDS struct ends *ends = established();
    uint8_t wire[256];
    char byte;
    struct error err = ERROR_NONE;
    (void)state;
    assert_int_equal(secure_stream_write(ends->near, "x", 1, NULL), 1);
    assert_int_equal(secure_stream_flush(ends->near, NULL), 0);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    ssize_t length = recv(ends->far_fd, wire, sizeof(wire), 0);
    wire[length - 1] ^= 1;
    assert_int_equal(write(ends->near_fd, wire, (size_t)length), length);
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    assert_int_equal(secure_stream_read(ends->far, &byte, 1, &err), -EPROTO);
}

/* ---- the end ---- */

static int read_end(struct ends *ends, struct error *err)
{
    char byte;
    assert_int_equal(socket_wait_readable(ends->far_fd, PATIENCE_NS), 1);
    return (int)secure_stream_read(ends->far, &byte, 1, err);
}

static void a_goodbye_and_a_cut_are_told_apart_and_both_are_errors(void **state)
{
    struct error goodbye = ERROR_NONE, cut = ERROR_NONE;
    (void)state;
    CLEANUP_ENDS struct ends *polite = established();
    secure_stream_free(steal_pointer(&polite->near));
    close_fd(&polite->near_fd);
    assert_int_equal(read_end(polite, &goodbye), -ECONNRESET);
    assert_non_null(strstr(goodbye.message, "closed"));

    CLEANUP_ENDS struct ends *rude = established();
    shutdown(rude->near_fd, SHUT_RDWR);
    assert_int_equal(read_end(rude, &cut), -ECONNRESET);
    assert_non_null(strstr(cut.message, "lost"));
}

/* Who can no longer send may still hear why. */
static void last_words_are_heard_after_a_failed_write(void **state)
{
    CLEANUP_ENDS struct ends *ends = established();
    char word[4] = "";
    ssize_t done = 1;
    (void)state;
    assert_int_equal(secure_stream_write(ends->far, "bye", 3, NULL), 3);
    assert_int_equal(secure_stream_flush(ends->far, NULL), 0);
    close_fd(&ends->far_fd);
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    for (size_t i = 0; (done > 0 || done == -EAGAIN) && clock_monotonic_ns() < deadline; i++) {
        uint8_t bytes[20000] = {0};
        done = secure_stream_write(ends->near, bytes, sizeof(bytes), NULL);
    }
    assert_true(done == -EPIPE || done == -ECONNRESET);
    assert_int_equal(secure_stream_read(ends->near, word, 3, NULL), 3);
    assert_string_equal(word, "bye");
}

static void a_long_identity_is_refused(void **state)
{
    uint8_t key[SECURE_KEY_SIZE] = {0};
    char name[SECURE_IDENTITY_SIZE + 1];
    struct secure_context *context;
    struct error err = ERROR_NONE;
    (void)state;
    memset(name, 'n', SECURE_IDENTITY_SIZE);
    name[SECURE_IDENTITY_SIZE] = '\0';
    assert_int_equal(secure_context_new(SECURE_CLIENT, key, name, &context, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_right_key_opens),
        cmocka_unit_test(a_wrong_key_is_refused),
        cmocka_unit_test(another_moves_key_is_refused),
        cmocka_unit_test(a_forgotten_key_opens_nothing),
        cmocka_unit_test(no_key_is_refused),
        cmocka_unit_test(a_certificate_is_no_key),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(an_oversized_record_is_refused),
        cmocka_unit_test(a_truncated_greeting_is_a_lost_connection),
        cmocka_unit_test(silence_only_waits),
        cmocka_unit_test(all_lengths_pass_both_ways),
        cmocka_unit_test(keys_change_on_the_way),
        cmocka_unit_test(keys_change_after_so_many_bytes),
        cmocka_unit_test(what_is_on_the_wire_is_not_the_content),
        cmocka_unit_test(a_part_of_a_record_is_not_readable_yet),
        cmocka_unit_test(a_changed_byte_is_noticed),
        cmocka_unit_test(a_goodbye_and_a_cut_are_told_apart_and_both_are_errors),
        cmocka_unit_test(last_words_are_heard_after_a_failed_write),
        cmocka_unit_test(a_long_identity_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
