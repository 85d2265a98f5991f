/*
 * A stream of numbered datagrams to the guest, and the judgement of what comes back.
 *
 * Arrivals are timed by the kernel (SO_TIMESTAMPNS), so that a client that was scheduled late does
 * not report a gap which the network did not have.
 */
#ifndef CLIENT_UDP_PROBE_H
#define CLIENT_UDP_PROBE_H

#include "timeline.h"

#include <netdb.h>

/* The quickest answer of the last while: the one whose clock reading is the least uncertain. */
struct quickest_answer {
    bool known;
    uint64_t since_ns;
    uint64_t rtt_ns;
    int64_t offset_ns;
};

struct udp_probe {
    int descriptor;            /* owned */
    struct timeline *timeline; /* borrowed */
    uint64_t next_sequence;    /* counts from 0 */
    uint64_t sequence_limit;
    unsigned char *answered; /* owned, mapped: one byte a sequence */
    uint64_t highest_sequence, highest_server_sequence;
    uint64_t last_arrival_ns; /* 0: no answer yet */
    struct quickest_answer quickest;
};

/* Sends at most `sequence_limit` datagrams. Returns 0 or -errno. */
int udp_probe_init(struct udp_probe *probe, struct timeline *timeline, const struct addrinfo *guest,
                   uint64_t sequence_limit);

void udp_probe_done(struct udp_probe *probe);

/* Sends the next datagram. */
void udp_probe_send(struct udp_probe *probe);

/* Takes in all that has arrived. */
void udp_probe_receive(struct udp_probe *probe);

/* Notes what the open interval can only know at its end; to be called before timeline_mark(). */
void udp_probe_end_interval(struct udp_probe *probe);

#endif
