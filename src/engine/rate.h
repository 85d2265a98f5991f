/*
 * How fast the channel carries: bytes that left towards the other side over the time in which there
 * were some to send. An average whose memory fades with time, so that it follows a link that
 * changes.
 */
#pragma once

#include <stdint.h>

struct rate {
    double bytes; /* faded sums */
    double time_ns;
    uint64_t last_ns; /* last sample */
    uint64_t last_bytes;
};

/* Sending begins (again): time that passed before does not count. `delivered` is a running total.
 */
void rate_resume(struct rate *rate, uint64_t now_ns, uint64_t delivered);

/* Until now, `delivered` bytes went out in all. */
void rate_sample(struct rate *rate, uint64_t now_ns, uint64_t delivered);

/* Bytes a second; 0 while unknown. */
uint64_t rate_per_second(const struct rate *rate);

/* How long `bytes` take; UINT64_MAX while the rate is unknown, 0 for no bytes. */
uint64_t rate_duration_ns(const struct rate *rate, uint64_t bytes);
