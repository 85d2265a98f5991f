/*
 * The report port's language: a line in, a line of JSON out.
 */
#ifndef GUEST_REPORT_H
#define GUEST_REPORT_H

#include "counters.h"

#include <stdbool.h>
#include <stddef.h>

enum { REPORT_BYTES = 8192 };

enum report_outcome {
    REPORT_ANSWERED, /* the answer is complete */
    REPORT_PENDING,  /* a program works on it: ask report_poll() again */
    REPORT_QUIT,     /* the client wants the connection closed */
};

/* What a pending answer waits for. */
struct report_wait {
    uint64_t memory_verify, disk_verify;
    uint64_t memory_rate, disk_rate;
    uint64_t clock_reset;
};

/*
 * Carries out `line` (without its end). Writes the answer, a line with its end, to `answer`, which
 * holds REPORT_BYTES.
 */
enum report_outcome report_command(struct counters *counters, const char *line,
                                   struct report_wait *wait, char *answer);

/* Looks whether what `wait` says has come true; if so writes the answer and returns true. */
bool report_poll(const struct counters *counters, const struct report_wait *wait, char *answer);

#endif
