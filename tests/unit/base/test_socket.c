/* Sockets: time limits hold, descriptors arrive, listeners do not push each other out. */
#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"
#include "scratch.h"

#define SHORT_NS (20 * NANOSECONDS_PER_MILLISECOND)
#define LONG_NS (10 * NANOSECONDS_PER_SECOND)

static char *socket_path(void **state)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/socket", (const char *)*state);
    return path;
}

static void a_unix_listener_answers_with_its_mode(void **state)
{
    struct error err = ERROR_NONE;
    struct stat status;
    CLEANUP_CLOSE int listener = socket_listen_unix(socket_path(state), 0666, &err);
    CLEANUP_CLOSE int client = socket_connect_unix(socket_path(state), &err);
    CLEANUP_CLOSE int served = socket_accept(listener, LONG_NS, &err);
    assert_true(listener >= 0 && client >= 0 && served >= 0);
    assert_int_equal(stat(socket_path(state), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0666);
    assert_int_equal(fcntl(served, F_GETFD), FD_CLOEXEC);
}

/* A folder that belongs to somebody else may hold anything in a socket's place. */
static void a_link_to_a_socket_is_not_followed(void **state)
{
    struct error err = ERROR_NONE;
    char link[128];
    snprintf(link, sizeof(link), "%s.link", socket_path(state));
    CLEANUP_CLOSE int listener = socket_listen_unix(socket_path(state), 0600, &err);
    assert_true(listener >= 0);
    assert_int_equal(symlink(socket_path(state), link), 0);
    assert_int_equal(socket_connect_unix(link, &err), -ENOTSOCK);
    assert_non_null(strstr(err.message, "not a socket"));
}

static void only_the_owner_of_a_socket_answers(void **state)
{
    struct error err = ERROR_NONE;
    if (geteuid() != 0) {
        skip();
    }
    CLEANUP_CLOSE int listener = socket_listen_unix(socket_path(state), 0666, &err);
    CLEANUP_CLOSE int client = socket_connect_unix_at_once(socket_path(state), &err);
    assert_true(listener >= 0 && client >= 0);
    assert_int_equal(chown(socket_path(state), 65534, 65534), 0);
    assert_int_equal(socket_connect_unix(socket_path(state), &err), -EPERM);
    assert_int_equal(socket_connect_unix_at_once(socket_path(state), &err), -EPERM);
}

static void only_a_stale_socket_is_replaced(void **state)
{
    struct error err = ERROR_NONE;
    int listener = socket_listen_unix(socket_path(state), 0600, &err);
    assert_int_equal(socket_listen_unix(socket_path(state), 0600, &err), -EADDRINUSE);
    CLEANUP_CLOSE int client = socket_connect_unix(socket_path(state), &err);
    assert_true(client >= 0);
    close(listener);
    CLEANUP_CLOSE int second = socket_listen_unix(socket_path(state), 0600, &err);
    assert_true(second >= 0);
    unlink(socket_path(state));
    scratch_write(state, "socket", "a file");
    assert_int_equal(socket_listen_unix(socket_path(state), 0600, &err), -EADDRINUSE);
    assert_int_equal(access(socket_path(state), F_OK), 0);
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    char path[200];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(socket_listen_unix(path, 0600, &err), -ENAMETOOLONG);
    assert_int_equal(socket_connect_unix(path, &err), -ENAMETOOLONG);
    assert_int_equal(socket_connect_unix("/nowhere/socket", &err), -ENOENT);
    static const char *const bad[] = {"", "localhost", "1.2.3", "1.2.3.4.5", "::g", "127.0.0.1 "};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(socket_listen_tcp(bad[i], 0, NULL, &err), -EINVAL);
        assert_int_equal(socket_connect_tcp(bad[i], 1, SHORT_NS, &err), -EINVAL);
    }
}

static void tcp_connects_and_refuses(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    uint16_t port = 0;
    int listener = socket_listen_tcp("127.0.0.1", 0, &port, &err);
    assert_true(listener >= 0 && port > 0);
    CLEANUP_CLOSE int client = socket_connect_tcp("127.0.0.1", port, LONG_NS, &err);
    CLEANUP_CLOSE int served = socket_accept(listener, LONG_NS, &err);
    assert_true(client >= 0 && served >= 0);
    assert_int_equal(fcntl(client, F_GETFL) & O_NONBLOCK, 0);
    close(listener);
    assert_int_equal(socket_connect_tcp("127.0.0.1", port, LONG_NS, &err), -ECONNREFUSED);
    assert_non_null(strstr(err.message, "127.0.0.1 port"));
}

static void congestion_control(int fd, char name[16])
{
    socklen_t length = 16;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
}

/* What the host chose is kept, unless it paces what need not be paced. Some tries: on a busy
 * machine even a near peer may seem far once. */
static void tcp_to_a_near_peer_is_not_paced(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    uint16_t port = 0;
    char host[16] = "", used[16] = "";
    CLEANUP_CLOSE int listener = socket_listen_tcp("127.0.0.1", 0, &port, &err);
    CLEANUP_CLOSE int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    congestion_control(plain, host);
    bool paced_by_choice = strncmp(host, "bbr", 3) == 0;
    for (int i = 0; i < 20 && (i == 0 || (paced_by_choice && strcmp(used, host) == 0)); i++) {
        CLEANUP_CLOSE int client = socket_connect_tcp("127.0.0.1", port, LONG_NS, &err);
        assert_true(client >= 0);
        congestion_control(client, used);
    }
    if (paced_by_choice) {
        assert_true(strcmp(used, "cubic") == 0 || strcmp(used, "reno") == 0);
    } else {
        assert_string_equal(used, host);
    }
}

static void tcp_connects_from_the_address_that_was_named(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct sockaddr_in seen;
    socklen_t length = sizeof(seen);
    uint16_t port = 0;
    CLEANUP_CLOSE int listener = socket_listen_tcp("127.0.0.1", 0, &port, &err);
    CLEANUP_CLOSE int client =
        socket_connect_tcp_from("127.0.0.7", "127.0.0.1", port, LONG_NS, &err);
    assert_true(listener >= 0 && client >= 0);
    assert_int_equal(getsockname(client, (struct sockaddr *)&seen, &length), 0);
    assert_int_equal(ntohl(seen.sin_addr.s_addr), 0x7f000007);
    assert_int_equal(socket_connect_tcp_from("192.0.2.1", "127.0.0.1", port, LONG_NS, &err),
                     -EADDRNOTAVAIL);
    assert_non_null(strstr(err.message, "192.0.2.1"));
    assert_int_equal(socket_connect_tcp_from("here", "127.0.0.1", port, LONG_NS, &err), -EINVAL);
}

static void time_limits_hold(void **state)
{
    struct error err = ERROR_NONE;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    uint64_t before = clock_monotonic_ns();
    assert_int_equal(socket_wait_readable(pair[0], SHORT_NS), 0);
    assert_true(clock_monotonic_ns() - before >= SHORT_NS);
    CLEANUP_CLOSE int listener = socket_listen_unix(socket_path(state), 0600, &err);
    assert_int_equal(socket_accept(listener, SHORT_NS, &err), -ETIMEDOUT);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_int_equal(socket_wait_readable(pair[0], 0), 1);
    assert_int_equal(socket_wait_readable(pair[0], UINT64_MAX), 1);
    char byte;
    assert_int_equal(read(pair[0], &byte, 1), 1);
    close(pair[1]);
    assert_int_equal(socket_wait_readable(pair[0], LONG_NS), 1);
    close(pair[0]);
}

/* A limit near the end of time must not wrap around and end at once. */
static void an_endless_limit_waits(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    if (fork() == 0) {
        clock_sleep_ns(SHORT_NS);
        _exit(write(pipes[1], "x", 1) != 1);
    }
    assert_int_equal(socket_wait_readable(pipes[0], UINT64_MAX), 1);
    close(pipes[0]);
    close(pipes[1]);
}

static void descriptors_arrive(void **state)
{
    (void)state;
    int pair[2];
    int pipes[2];
    int received[16];
    size_t count = 99;
    char bytes[8] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socket_send_fds(pair[0], "abc", 3, pipes, 2), 0);
    assert_int_equal(socket_receive_fds(pair[1], bytes, sizeof(bytes), received, 16, &count), 3);
    assert_int_equal(count, 2);
    assert_string_equal(bytes, "abc");
    assert_int_equal(fcntl(received[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(received[1], "!", 1), 1);
    assert_int_equal(read(pipes[0], bytes, 1), 1);
    assert_int_equal(bytes[0], '!');
    close(received[0]);
    close(received[1]);

    assert_int_equal(socket_send_fds(pair[0], "d", 1, NULL, 0), 0);
    assert_int_equal(socket_receive_fds(pair[1], bytes, sizeof(bytes), received, 16, &count), 1);
    assert_int_equal(count, 0);
    close(pair[0]);
    assert_int_equal(socket_receive_fds(pair[1], bytes, sizeof(bytes), received, 16, &count), 0);
    assert_int_equal(socket_send_fds(pair[1], "d", 1, NULL, 0), -EPIPE);
    close(pair[1]);
    close(pipes[0]);
    close(pipes[1]);
}

static void descriptors_too_many_are_refused_or_closed(void **state)
{
    (void)state;
    int pair[2];
    int fds[17];
    int received[2];
    size_t count;
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < 17; i++) {
        fds[i] = STDIN_FILENO;
    }
    assert_int_equal(socket_send_fds(pair[0], "x", 1, fds, 17), -EINVAL);
    assert_int_equal(socket_send_fds(pair[0], "", 0, fds, 1), -EINVAL);
    int next = dup(STDIN_FILENO);
    close(next);
    assert_int_equal(socket_send_fds(pair[0], "x", 1, fds, 16), 0);
    assert_int_equal(socket_receive_fds(pair[1], &byte, 1, received, 2, &count), 1);
    assert_int_equal(count, 2);
    close(received[0]);
    close(received[1]);
    int after = dup(STDIN_FILENO);
    assert_int_equal(after, next); /* nothing leaked */
    close(after);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_unix_listener_answers_with_its_mode),
        scratch_test(a_link_to_a_socket_is_not_followed),
        scratch_test(only_the_owner_of_a_socket_answers),
        scratch_test(only_a_stale_socket_is_replaced),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(tcp_connects_and_refuses),
        cmocka_unit_test(tcp_to_a_near_peer_is_not_paced),
        cmocka_unit_test(tcp_connects_from_the_address_that_was_named),
        scratch_test(time_limits_hold),
        cmocka_unit_test(an_endless_limit_waits),
        cmocka_unit_test(descriptors_arrive),
        cmocka_unit_test(descriptors_too_many_are_refused_or_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
