/* Idle processor time: see processor_idle.h. */
#include "mover/processor_idle.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define FIRST_LINE_MOST 512
#define LEAST_PROCESSORS 0.5 /* on a busy host too: the scheduler is fair, a slow link is slow */

void processor_idle_init(struct processor_idle *idle, int fd)
{
    *idle = (struct processor_idle){.fd = fd, .processors = DBL_MAX};
}

/* "cpu  user nice system idle iowait ...": a processor that waits for a disk is idle, too. */
int processor_idle_parse(const char *text, uint64_t *ret_ticks)
{
    uint64_t idle, waiting;
    if (sscanf(text, "cpu %*u %*u %*u %" SCNu64 " %" SCNu64, &idle, &waiting) != 2) {
        return -EPROTO;
    }
    *ret_ticks = idle + waiting;
    return 0;
}

static int sample(int fd, uint64_t now_ns, struct processor_times *ret_times)
{
    char text[FIRST_LINE_MOST + 1];
    struct timespec own;
    uint64_t ticks;
    ssize_t length = pread(fd, text, FIRST_LINE_MOST, 0);
    if (length <= 0 || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) < 0) {
        return -EIO;
    }
    text[length] = '\0';
    if (processor_idle_parse(text, &ticks) < 0) {
        return -EPROTO;
    }
    *ret_times = (struct processor_times){
        .now_ns = now_ns,
        .idle_ns = ticks * (NANOSECONDS_PER_SECOND / (uint64_t)sysconf(_SC_CLK_TCK)),
        .own_ns = (uint64_t)own.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)own.tv_nsec,
    };
    return 0;
}

/* The kernel's total of idle time may step back a little. */
static uint64_t passed(uint64_t before, uint64_t after)
{
    return after > before ? after - before : 0;
}

void processor_idle_note(struct processor_idle *idle, const struct processor_times *times)
{
    const struct processor_times *last = &idle->last;
    if (last->now_ns > 0 && times->now_ns > last->now_ns) {
        uint64_t free_ns =
            passed(last->idle_ns, times->idle_ns) + passed(last->own_ns, times->own_ns);
        idle->processors = (double)free_ns / (double)(times->now_ns - last->now_ns);
    }
    idle->last = *times;
}

double processor_idle_share(struct processor_idle *idle, uint64_t now_ns, unsigned lanes)
{
    struct processor_times times;
    if (idle->fd >= 0 && now_ns - idle->last.now_ns >= PROCESSOR_IDLE_INTERVAL_NS) {
        if (sample(idle->fd, now_ns, &times) == 0) {
            processor_idle_note(idle, &times);
        } else {
            processor_idle_init(idle, -1);
        }
    }
    double processors = idle->processors > LEAST_PROCESSORS ? idle->processors : LEAST_PROCESSORS;
    double share = processors / (lanes > 0 ? lanes : 1);
    return share < 1 ? share : 1;
}
