/* Condition variables on the monotonic clock: see condition.h. */
#include "base/condition.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / NANOSECONDS_PER_SECOND),
                             .tv_nsec = (long)(deadline_ns % NANOSECONDS_PER_SECOND)};
    return pthread_cond_timedwait(condition, mutex, &until) != ETIMEDOUT;
}
