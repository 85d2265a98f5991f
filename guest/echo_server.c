/*
 * What the guest answers on the network: echo records by UDP and on TCP streams, with sequence
 * numbers and the guest's clock, and the report port. One thread, one epoll loop; a client that is
 * slow to read only holds up itself.
 *
 *   echo_server counters=FILE
 */
#include "counters.h"
#include "echo_record.h"
#include "options.h"
#include "pace.h"
#include "report.h"

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_AT_ONCE = 32,
    DATAGRAMS_AT_ONCE = 64,
    INPUT_BYTES = 4096,
    REPORT_POLL_MS = 10,
    CONNECTIONS_MAX = 256,
};

enum endpoint_kind {
    ENDPOINT_UDP,
    ENDPOINT_ECHO_LISTENER,
    ENDPOINT_REPORT_LISTENER,
    ENDPOINT_ECHO,
    ENDPOINT_REPORT,
};

/* A socket. Connections are linked together; listeners and UDP live as long as the program. */
struct endpoint {
    enum endpoint_kind kind;
    int descriptor; /* owned */
    struct endpoint *next;
    uint64_t sequence;
    unsigned char input[INPUT_BYTES];
    size_t input_length;
    unsigned char output[INPUT_BYTES + REPORT_BYTES];
    size_t output_length;
    bool pending; /* a report waits for a program */
    bool closing; /* the client has no more to say */
    struct report_wait wait;
};

struct server {
    int poll_descriptor;
    struct counters *counters;
    struct endpoint *connections;
    size_t connection_count;
};

static struct endpoint *endpoint_new(struct server *server, enum endpoint_kind kind, int descriptor)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = endpoint};

    if (!endpoint)
        return NULL;
    endpoint->kind = kind;
    endpoint->descriptor = descriptor;
    if (epoll_ctl(server->poll_descriptor, EPOLL_CTL_ADD, descriptor, &event) < 0) {
        free(endpoint);
        return NULL;
    }
    return endpoint;
}

/* Dual-stack: IPv4 clients appear as mapped addresses. */
static void listen_on(struct server *server, enum endpoint_kind kind, int type, uint16_t port)
{
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6,
        .sin6_port = htons(port),
        .sin6_addr = in6addr_any,
    };
    int one = 1, zero = 0;
    int descriptor = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (descriptor < 0)
        err(1, "socket");
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0)
        err(1, "port %d", port);
    if (type == SOCK_STREAM && listen(descriptor, 16) < 0)
        err(1, "port %d", port);
    if (!endpoint_new(server, kind, descriptor))
        err(1, "port %d", port);
}

static void connection_free(struct server *server, struct endpoint *connection)
{
    struct endpoint **link = &server->connections;

    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    server->connection_count--;
    close(connection->descriptor);
    free(connection);
}

static void accept_connection(struct server *server, const struct endpoint *listener)
{
    enum endpoint_kind kind =
        listener->kind == ENDPOINT_ECHO_LISTENER ? ENDPOINT_ECHO : ENDPOINT_REPORT;
    int one = 1;
    int descriptor = accept4(listener->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (descriptor < 0)
        return;
    struct endpoint *connection =
        server->connection_count < CONNECTIONS_MAX ? endpoint_new(server, kind, descriptor) : NULL;
    if (!connection) {
        close(descriptor);
        return;
    }
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connection->next = server->connections;
    server->connections = connection;
    server->connection_count++;
    if (kind == ENDPOINT_ECHO)
        server->counters->echo.tcp_connections++;
}

/* Turns a request into its answer in place. */
static bool answer_record(struct server *server, unsigned char *bytes, uint64_t *sequence)
{
    struct echo_record record;

    if (echo_record_decode(bytes, &record) < 0) {
        server->counters->echo.malformed++;
        return false;
    }
    record.server_sequence = ++*sequence;
    record.guest_ns = pace_now();
    echo_record_encode(&record, bytes);
    return true;
}

static void serve_datagrams(struct server *server, struct endpoint *endpoint)
{
    for (int i = 0; i < DATAGRAMS_AT_ONCE; i++) {
        unsigned char bytes[ECHO_RECORD_BYTES + 1];
        struct sockaddr_storage sender;
        socklen_t sender_length = sizeof(sender);
        ssize_t length = recvfrom(endpoint->descriptor, bytes, sizeof(bytes), 0,
                                  (struct sockaddr *)&sender, &sender_length);
        if (length < 0)
            return;
        if (length != ECHO_RECORD_BYTES || !answer_record(server, bytes, &endpoint->sequence))
            continue;
        server->counters->echo.udp_datagrams++;
        sendto(endpoint->descriptor, bytes, ECHO_RECORD_BYTES, 0, (struct sockaddr *)&sender,
               sender_length);
    }
}

static void drop_input(struct endpoint *connection, size_t bytes)
{
    connection->input_length -= bytes;
    memmove(connection->input, connection->input + bytes, connection->input_length);
}

static void append_output(struct endpoint *connection, const void *bytes, size_t length)
{
    memcpy(connection->output + connection->output_length, bytes, length);
    connection->output_length += length;
}

static size_t output_room(const struct endpoint *connection)
{
    return sizeof(connection->output) - connection->output_length;
}

/* Returns false when the stream makes no sense any more. */
static bool consume_records(struct server *server, struct endpoint *connection)
{
    while (connection->input_length >= ECHO_RECORD_BYTES &&
           output_room(connection) >= ECHO_RECORD_BYTES) {
        if (!answer_record(server, connection->input, &connection->sequence))
            return false;
        server->counters->echo.tcp_records++;
        append_output(connection, connection->input, ECHO_RECORD_BYTES);
        drop_input(connection, ECHO_RECORD_BYTES);
    }
    return true;
}

/* Returns false when the client sends a line without end. */
static bool consume_lines(struct server *server, struct endpoint *connection)
{
    char answer[REPORT_BYTES];

    while (!connection->pending && output_room(connection) >= REPORT_BYTES) {
        char *end = memchr(connection->input, '\n', connection->input_length);
        if (!end)
            return connection->input_length < INPUT_BYTES;
        char *line = (char *)connection->input;
        *end = '\0';
        if (end > line && end[-1] == '\r')
            end[-1] = '\0';
        enum report_outcome outcome =
            report_command(server->counters, line, &connection->wait, answer);
        drop_input(connection, (size_t)(end - line) + 1);
        if (outcome == REPORT_QUIT) {
            connection->closing = true;
            connection->input_length = 0;
            return true;
        }
        if (outcome == REPORT_ANSWERED)
            append_output(connection, answer, strlen(answer));
        connection->pending = outcome == REPORT_PENDING;
    }
    return true;
}

static bool consume(struct server *server, struct endpoint *connection)
{
    return connection->kind == ENDPOINT_ECHO ? consume_records(server, connection)
                                             : consume_lines(server, connection);
}

static bool flush_output(struct endpoint *connection)
{
    ssize_t sent =
        send(connection->descriptor, connection->output, connection->output_length, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN;
    connection->output_length -= (size_t)sent;
    memmove(connection->output, connection->output + sent, connection->output_length);
    return true;
}

/* Reading stops while there is no room, writing is watched while there is something to write. */
static void watch_connection(struct server *server, struct endpoint *connection)
{
    bool readable = !connection->closing && connection->input_length < INPUT_BYTES;
    struct epoll_event event = {
        .events = (readable ? EPOLLIN : 0u) | (connection->output_length > 0 ? EPOLLOUT : 0u),
        .data.ptr = connection,
    };

    epoll_ctl(server->poll_descriptor, EPOLL_CTL_MOD, connection->descriptor, &event);
}

/* Takes in what has come. Returns false when the connection failed. */
static bool receive_input(struct endpoint *connection)
{
    size_t room = INPUT_BYTES - connection->input_length;
    ssize_t length = 0;

    if (room == 0 || connection->closing)
        return true;
    length = recv(connection->descriptor, connection->input + connection->input_length, room, 0);
    if (length < 0)
        return errno == EAGAIN;
    connection->input_length += (size_t)length;
    connection->closing = length == 0;
    return true;
}

static void serve_connection(struct server *server, struct endpoint *connection)
{
    bool open = receive_input(connection);

    open = open && consume(server, connection);
    open = open && flush_output(connection);
    if (open && connection->closing)
        open = connection->pending || connection->output_length > 0;
    if (open)
        watch_connection(server, connection);
    else
        connection_free(server, connection);
}

static void serve_event(struct server *server, const struct epoll_event *event)
{
    struct endpoint *endpoint = event->data.ptr;

    switch (endpoint->kind) {
    case ENDPOINT_UDP:
        serve_datagrams(server, endpoint);
        break;
    case ENDPOINT_ECHO_LISTENER:
    case ENDPOINT_REPORT_LISTENER:
        accept_connection(server, endpoint);
        break;
    case ENDPOINT_ECHO:
    case ENDPOINT_REPORT:
        serve_connection(server, endpoint);
        break;
    }
}

/* Answers the reports whose work is done. */
static void serve_pending(struct server *server)
{
    char answer[REPORT_BYTES];
    struct endpoint *next;

    for (struct endpoint *connection = server->connections; connection; connection = next) {
        next = connection->next;
        if (!connection->pending || !report_poll(server->counters, &connection->wait, answer))
            continue;
        connection->pending = false;
        append_output(connection, answer, strlen(answer));
        serve_connection(server, connection);
    }
}

static bool has_pending(const struct server *server)
{
    const struct endpoint *connection = server->connections;

    while (connection && !connection->pending)
        connection = connection->next;
    return connection != NULL;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct server server = {
        .poll_descriptor = epoll_create1(EPOLL_CLOEXEC),
        .counters = counters_open(option_text(argv, "counters", COUNTERS_FILE)),
    };

    if (server.poll_descriptor < 0)
        err(1, "epoll");
    pace_run_first();
    listen_on(&server, ENDPOINT_UDP, SOCK_DGRAM, ECHO_UDP_PORT);
    listen_on(&server, ENDPOINT_ECHO_LISTENER, SOCK_STREAM, ECHO_TCP_PORT);
    listen_on(&server, ENDPOINT_REPORT_LISTENER, SOCK_STREAM, ECHO_REPORT_PORT);
    server.counters->echo.running = 1;

    for (;;) {
        struct epoll_event events[EVENTS_AT_ONCE];
        serve_pending(&server);
        int count = epoll_wait(server.poll_descriptor, events, EVENTS_AT_ONCE,
                               has_pending(&server) ? REPORT_POLL_MS : -1);
        for (int i = 0; i < count; i++)
            serve_event(&server, &events[i]);
    }
}
