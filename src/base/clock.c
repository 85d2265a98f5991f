/* Time: see clock.h. */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_thread_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_boottime_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

uint64_t clock_realtime_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

void clock_format_utc(uint64_t realtime_ns, char text[32])
{
    time_t seconds = (time_t)(realtime_ns / NANOSECONDS_PER_SECOND);
    unsigned milliseconds =
        (unsigned)(realtime_ns % NANOSECONDS_PER_SECOND / NANOSECONDS_PER_MILLISECOND);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t used = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + used, 32 - used, ".%03uZ", milliseconds);
}

void clock_sleep_ns(uint64_t duration_ns)
{
    struct timespec left = {(time_t)(duration_ns / NANOSECONDS_PER_SECOND),
                            (long)(duration_ns % NANOSECONDS_PER_SECOND)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}
