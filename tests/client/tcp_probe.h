/*
 * One TCP session with the guest that is meant to last: numbered records at a steady pace, echoed
 * in order. A session that breaks is counted, and another one opened.
 */
#ifndef CLIENT_TCP_PROBE_H
#define CLIENT_TCP_PROBE_H

#include "echo_record.h"
#include "timeline.h"

#include <netdb.h>

enum tcp_state {
    TCP_PROBE_CLOSED, /* nothing to wait for until `retry_ns` */
    TCP_PROBE_CONNECTING,
    TCP_PROBE_CONNECTED,
};

enum { TCP_PROBE_OUTPUT_BYTES = 1024 * ECHO_RECORD_BYTES };

struct tcp_probe {
    enum tcp_state state;
    int descriptor;               /* owned; -1 when closed */
    int poll_descriptor;          /* borrowed */
    void *poll_tag;               /* what epoll reports the socket as */
    struct timeline *timeline;    /* borrowed */
    const struct addrinfo *guest; /* borrowed */
    uint64_t retry_ns;
    uint64_t next_sequence;
    uint64_t expected_sequence, server_sequence;
    uint64_t last_arrival_ns; /* 0: no answer yet */
    unsigned char input[ECHO_RECORD_BYTES];
    size_t input_length;
    unsigned char output[TCP_PROBE_OUTPUT_BYTES];
    size_t output_length;
};

void tcp_probe_init(struct tcp_probe *probe, struct timeline *timeline,
                    const struct addrinfo *guest, int poll_descriptor, void *poll_tag);

void tcp_probe_done(struct tcp_probe *probe);

/* To be called at each tick of the records' pace: sends the next one, or connects. */
void tcp_probe_tick(struct tcp_probe *probe);

/* To be called when epoll reports the socket. */
void tcp_probe_event(struct tcp_probe *probe);

/* Notes what the open interval can only know at its end; to be called before timeline_mark(). */
void tcp_probe_end_interval(struct tcp_probe *probe);

#endif
