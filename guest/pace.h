/*
 * Time in the guest's programs: how much work is due by now at a given rate, and who runs first.
 */
#ifndef GUEST_PACE_H
#define GUEST_PACE_H

#include <stdint.h>

struct pace {
    uint64_t rate; /* bytes a second; RATE_MAX: no limit */
    uint64_t credit_ns;
    uint64_t last_ns;
};

void pace_init(struct pace *pace, uint64_t rate, uint64_t now_ns);

/*
 * How many units of `unit` bytes are due at `now_ns`, at most `most`; they count as done. Time in
 * which nothing was done is made up for up to a tenth of a second, not more: a guest that stood
 * still does not come back with a burst.
 */
uint64_t pace_due(struct pace *pace, uint64_t now_ns, uint64_t unit, uint64_t most);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t pace_now(void);

/* Sleeps this long. */
void pace_sleep(uint64_t nanoseconds);

/*
 * Lets this program run before all ordinary ones, if it may: what it measures is the machine, not
 * the competition for it.
 */
void pace_run_first(void);

#endif
