/*
 * Sleeps a millisecond, over and over, and records how long each sleep really took by the guest's
 * own clock: what a stop of the guest looks like from inside. (A hypervisor that stops the clock
 * together with the vCPUs hides the stop from this program; who asks from outside sees the clock
 * lag instead.)
 *
 *   clock_watcher limit-ms=5 counters=FILE
 */
#include "counters.h"
#include "options.h"
#include "pace.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#define MILLISECOND_NS 1000000ull
#define STATUS_NS 5000000000ull

static uint64_t boottime_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void record_gap(struct clock_counters *counters, uint64_t at_ns, uint64_t length_ns)
{
    struct clock_gap *slot = &counters->gaps[counters->gaps_seen % CLOCK_GAPS_KEPT];

    slot->at_ns = at_ns;
    slot->length_ns = length_ns;
    counters->gaps_seen++;
}

static void serve_reset(struct clock_counters *counters)
{
    uint64_t request = counters->reset_request;

    if (request == counters->reset_served)
        return;
    counters->longest.at_ns = 0;
    counters->longest.length_ns = 0;
    counters->longest_boottime_ns = 0;
    counters->gaps_seen = 0;
    counters->reset_served = request;
}

static void print_status(const struct clock_counters *counters)
{
    printf("drover-guest: clock wakeups=%" PRIu64 " longest_gap_us=%" PRIu64
           " gaps_over_limit=%" PRIu64 "\n",
           counters->wakeups, counters->longest.length_ns / 1000, counters->gaps_seen);
}

static void watch(struct clock_counters *counters, uint64_t limit_ns)
{
    uint64_t before = pace_now();
    uint64_t boottime_before = boottime_now();
    uint64_t next_status = before + STATUS_NS;

    for (;;) {
        pace_sleep(MILLISECOND_NS);
        uint64_t now = pace_now();
        uint64_t boottime = boottime_now();
        serve_reset(counters);
        if (now - before > limit_ns)
            record_gap(counters, now, now - before);
        if (now - before > counters->longest.length_ns) {
            counters->longest.length_ns = now - before;
            counters->longest.at_ns = now;
        }
        if (boottime - boottime_before > counters->longest_boottime_ns)
            counters->longest_boottime_ns = boottime - boottime_before;
        counters->wakeups++;
        before = now;
        boottime_before = boottime;
        if (now >= next_status) {
            print_status(counters);
            next_status = now + STATUS_NS;
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    uint64_t limit_ms = option_bytes(argv, "limit-ms", "5");
    struct clock_counters *counters =
        &counters_open(option_text(argv, "counters", COUNTERS_FILE))->clock;

    pace_run_first();
    prctl(PR_SET_TIMERSLACK, 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    counters->running = 1;
    watch(counters, limit_ms * MILLISECOND_NS);
}
