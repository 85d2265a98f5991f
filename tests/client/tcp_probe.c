/* See tcp_probe.h. */
#include "tcp_probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_NS 100000000ull

void tcp_probe_init(struct tcp_probe *probe, struct timeline *timeline,
                    const struct addrinfo *guest, int poll_descriptor, void *poll_tag)
{
    *probe = (struct tcp_probe){
        .state = TCP_PROBE_CLOSED,
        .descriptor = -1,
        .poll_descriptor = poll_descriptor,
        .poll_tag = poll_tag,
        .timeline = timeline,
        .guest = guest,
    };
}

void tcp_probe_done(struct tcp_probe *probe)
{
    if (probe->descriptor >= 0)
        close(probe->descriptor);
    probe->descriptor = -1;
}

/* Only a session that stood can break; a guest that is not up yet is no reset. */
static void break_session(struct tcp_probe *probe)
{
    if (probe->state == TCP_PROBE_CONNECTED)
        probe->timeline->open->tcp_resets++;
    tcp_probe_done(probe);
    probe->state = TCP_PROBE_CLOSED;
    probe->retry_ns = timeline_now(probe->timeline) + RETRY_NS;
}

static void watch(struct tcp_probe *probe, int operation)
{
    bool writing = probe->state == TCP_PROBE_CONNECTING || probe->output_length > 0;
    struct epoll_event event = {
        .events = EPOLLIN | (writing ? EPOLLOUT : 0u),
        .data.ptr = probe->poll_tag,
    };

    epoll_ctl(probe->poll_descriptor, operation, probe->descriptor, &event);
}

static void start_session(struct tcp_probe *probe)
{
    int one = 1;

    probe->descriptor =
        socket(probe->guest->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->descriptor < 0)
        return;
    setsockopt(probe->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    probe->state = TCP_PROBE_CONNECTING;
    probe->expected_sequence = probe->next_sequence;
    probe->server_sequence = 0;
    probe->input_length = probe->output_length = 0;
    if (connect(probe->descriptor, probe->guest->ai_addr, probe->guest->ai_addrlen) < 0 &&
        errno != EINPROGRESS)
        break_session(probe);
    else
        watch(probe, EPOLL_CTL_ADD);
}

static void flush_output(struct tcp_probe *probe)
{
    ssize_t sent = send(probe->descriptor, probe->output, probe->output_length, MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN)
            break_session(probe);
        return;
    }
    probe->output_length -= (size_t)sent;
    memmove(probe->output, probe->output + sent, probe->output_length);
}

/* A stream that has not moved for so long that the buffer is full gets no more records. */
static void send_record(struct tcp_probe *probe)
{
    struct echo_record record = {
        .client_sequence = probe->next_sequence,
        .client_ns = timeline_now(probe->timeline),
    };

    if (sizeof(probe->output) - probe->output_length < ECHO_RECORD_BYTES)
        return; /* what was sent may have ended within a record */
    echo_record_encode(&record, probe->output + probe->output_length);
    probe->output_length += ECHO_RECORD_BYTES;
    probe->next_sequence++;
    flush_output(probe);
    if (probe->output_length > 0 && probe->state == TCP_PROBE_CONNECTED)
        watch(probe, EPOLL_CTL_MOD);
}

void tcp_probe_tick(struct tcp_probe *probe)
{
    switch (probe->state) {
    case TCP_PROBE_CLOSED:
        if (timeline_now(probe->timeline) >= probe->retry_ns)
            start_session(probe);
        break;
    case TCP_PROBE_CONNECTING:
        break;
    case TCP_PROBE_CONNECTED:
        send_record(probe);
        break;
    }
}

static void accept_record(struct tcp_probe *probe)
{
    struct timeline *timeline = probe->timeline;
    uint64_t now = timeline_now(timeline);
    struct echo_record record;

    if (echo_record_decode(probe->input, &record) < 0) {
        timeline->open->tcp_wrong++;
        return;
    }
    struct interval *owner = timeline_owner_of_tcp(timeline, record.client_sequence);
    struct interval *interval = owner ? owner : timeline->open;
    interval->tcp_received++;
    if (record.client_sequence != probe->expected_sequence)
        interval->tcp_wrong++;
    if (record.server_sequence <= probe->server_sequence)
        interval->server_backwards++;
    else if (record.server_sequence != probe->server_sequence + 1)
        interval->tcp_wrong++;
    if (probe->last_arrival_ns != 0)
        silence_note(&interval->tcp_silence, probe->last_arrival_ns, now);
    probe->last_arrival_ns = now;
    probe->expected_sequence = record.client_sequence + 1;
    probe->server_sequence = record.server_sequence;
}

static void receive(struct tcp_probe *probe)
{
    for (;;) {
        ssize_t length = recv(probe->descriptor, probe->input + probe->input_length,
                              ECHO_RECORD_BYTES - probe->input_length, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            break_session(probe);
            return;
        }
        probe->input_length += (size_t)length;
        if (probe->input_length < ECHO_RECORD_BYTES)
            continue;
        accept_record(probe);
        probe->input_length = 0;
    }
}

static void finish_connecting(struct tcp_probe *probe)
{
    int error = 0;
    socklen_t length = sizeof(error);

    getsockopt(probe->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        break_session(probe);
        return;
    }
    probe->state = TCP_PROBE_CONNECTED;
    watch(probe, EPOLL_CTL_MOD);
}

void tcp_probe_event(struct tcp_probe *probe)
{
    if (probe->state == TCP_PROBE_CONNECTING) {
        finish_connecting(probe);
        return;
    }
    if (probe->state == TCP_PROBE_CONNECTED && probe->output_length > 0)
        flush_output(probe);
    if (probe->state == TCP_PROBE_CONNECTED)
        receive(probe);
    if (probe->state == TCP_PROBE_CONNECTED)
        watch(probe, EPOLL_CTL_MOD);
}

void tcp_probe_end_interval(struct tcp_probe *probe)
{
    struct interval *open = probe->timeline->open;
    uint64_t since = probe->last_arrival_ns ? probe->last_arrival_ns : open->begin_ns;

    silence_note(&open->tcp_silence, since, timeline_now(probe->timeline));
}
