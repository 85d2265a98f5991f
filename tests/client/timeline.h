/*
 * The intervals of one run, from the first that is not yet reported to the one that is open, and
 * the totals of those that were.
 */
#ifndef CLIENT_TIMELINE_H
#define CLIENT_TIMELINE_H

#include "interval.h"

struct timeline {
    struct interval *oldest; /* owned, linked by time; there is always at least the open one */
    struct interval *open;
    struct interval total;
    uint64_t start_ns; /* CLOCK_MONOTONIC */
};

/* Returns 0 or -ENOMEM. */
int timeline_init(struct timeline *timeline);

void timeline_done(struct timeline *timeline);

/* Time since the start, in nanoseconds. */
uint64_t timeline_now(const struct timeline *timeline);

/*
 * Ends the open interval under this name and opens the next; `udp` and `tcp` are the sequences that
 * the next one begins with. Characters that do not belong in a name become '_'. Returns 0 or
 * -ENOMEM.
 */
int timeline_mark(struct timeline *timeline, const char *name, uint64_t udp, uint64_t tcp);

/* The interval in which this was sent; NULL if it has been reported already. */
struct interval *timeline_owner_of_udp(const struct timeline *timeline, uint64_t sequence);
struct interval *timeline_owner_of_tcp(const struct timeline *timeline, uint64_t sequence);

/* Prints the intervals that have settled by `now_ns`, and adds them to the totals. */
void timeline_report_settled(struct timeline *timeline, uint64_t now_ns, FILE *out);

/* Adds what came after the last mark, when nothing was sent any more, to the totals. */
void timeline_finish(struct timeline *timeline);

/* Whether all but the open interval have been reported. */
bool timeline_is_settled(const struct timeline *timeline);

#endif
