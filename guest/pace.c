/* See pace.h. */
#include "pace.h"

#include "options.h"

#include <sched.h>
#include <time.h>

#define SECOND_NS 1000000000ull
#define CREDIT_MAX_NS (SECOND_NS / 10)

void pace_init(struct pace *pace, uint64_t rate, uint64_t now_ns)
{
    *pace = (struct pace){.rate = rate, .last_ns = now_ns};
}

uint64_t pace_due(struct pace *pace, uint64_t now_ns, uint64_t unit, uint64_t most)
{
    if (pace->rate == 0 || pace->rate == RATE_MAX) {
        pace->last_ns = now_ns;
        return pace->rate == 0 ? 0 : most;
    }

    /* A unit may take longer than the credit that is kept: it must still come due some day. */
    double unit_ns = (double)unit * SECOND_NS / (double)pace->rate;
    double limit_ns = unit_ns > CREDIT_MAX_NS ? unit_ns : CREDIT_MAX_NS;
    double credit_ns = (double)pace->credit_ns + (double)(now_ns - pace->last_ns);

    if (credit_ns > limit_ns)
        credit_ns = limit_ns;
    uint64_t due = (uint64_t)(credit_ns / unit_ns);
    if (due > most)
        due = most;
    pace->credit_ns = (uint64_t)(credit_ns - (double)due * unit_ns + 0.5);
    pace->last_ns = now_ns;
    return due;
}

uint64_t pace_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void pace_sleep(uint64_t nanoseconds)
{
    struct timespec time = {
        .tv_sec = (time_t)(nanoseconds / SECOND_NS),
        .tv_nsec = (long)(nanoseconds % SECOND_NS),
    };

    nanosleep(&time, NULL);
}

void pace_run_first(void)
{
    struct sched_param priority = {.sched_priority = 1};

    sched_setscheduler(0, SCHED_FIFO, &priority);
}
