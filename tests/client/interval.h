/*
 * What the traffic client counts between two marks.
 *
 * An interval owns the requests that were sent in it: an answer counts where its request was sent,
 * however late it comes. An interval that has ended is reported SETTLE_NS later, so that an answer
 * under way is not taken for a lost one; what comes later still is counted as late in the interval
 * open by then, and is no loss in the totals.
 */
#ifndef CLIENT_INTERVAL_H
#define CLIENT_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SETTLE_NS 300000000ull

enum { INTERVAL_NAME_BYTES = 64 };

/* A longest silence: how long, and when it ended, as time since the client's start. */
struct silence {
    uint64_t longest_ns;
    uint64_t at_ns;
};

/* The guest's clock minus the client's, at the first and the last quick answers of an interval. */
struct clock_offset {
    bool known;
    int64_t first_ns, last_ns;
};

struct interval {
    char name[INTERVAL_NAME_BYTES];
    struct interval *next;       /* the one after it in time */
    uint64_t begin_ns, end_ns;   /* since the client's start; end is 0 while it is open */
    uint64_t first_udp, end_udp; /* sequences: first, and one past the last */
    uint64_t first_tcp, end_tcp;

    uint64_t udp_received, udp_reordered, udp_duplicated, udp_wrong, udp_late;
    uint64_t udp_unsent; /* what the kernel refused to send; counted as lost, too */
    uint64_t tcp_received, tcp_resets, tcp_wrong;
    uint64_t server_backwards;
    uint64_t longest_rtt_ns;
    uint64_t longest_client_stall_ns;
    struct silence udp_silence, tcp_silence;
    struct clock_offset offset;
};

/* Records a silence if it is the longest. Both as time since the client's start. */
void silence_note(struct silence *silence, uint64_t from_ns, uint64_t to_ns);

/* Adds what `part` counted to `total`, which began with or before it. */
void interval_add(struct interval *total, const struct interval *part);

/* Prints one line of JSON. `type` is "interval" or "total". */
void interval_print(const struct interval *interval, const char *type, FILE *out);

#endif
