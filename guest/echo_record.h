/*
 * The record that the traffic client sends to the guest and gets back, alike as a UDP datagram and
 * on a TCP stream: 64 bytes, big-endian. The client fills in its sequence, its clock and a pattern
 * that follows from the sequence; the guest's answer adds a sequence and a clock of its own.
 */
#ifndef GUEST_ECHO_RECORD_H
#define GUEST_ECHO_RECORD_H

#include <stdint.h>

enum {
    ECHO_RECORD_BYTES = 64,
    ECHO_TCP_PORT = 7000,
    ECHO_UDP_PORT = 7001,
    ECHO_REPORT_PORT = 7002,
};

struct echo_record {
    uint64_t client_sequence;
    uint64_t client_ns;
    uint64_t server_sequence; /* 0 in a request; counts from 1, UDP over all, TCP per connection */
    uint64_t guest_ns;        /* 0 in a request; CLOCK_MONOTONIC of the guest */
};

/* Writes ECHO_RECORD_BYTES. */
void echo_record_encode(const struct echo_record *record, unsigned char *bytes);

/* Reads ECHO_RECORD_BYTES. Returns 0, or -EBADMSG if they are no intact record. */
int echo_record_decode(const unsigned char *bytes, struct echo_record *ret_record);

#endif
