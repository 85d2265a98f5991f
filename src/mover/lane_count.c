/* How many connections pay: see lane_count.h. */
#include "mover/lane_count.h"

#include "base/clock.h"

#define WINDOW_NS (40 * NANOSECONDS_PER_MILLISECOND)
#define WINDOW_BYTES ((uint64_t)16 << 20) /* fewer say nothing about the rate */
#define GAIN_PERCENT 8u                   /* that one more lane must bring */

void lane_count_init(struct lane_count *count, unsigned least, unsigned most)
{
    *count = (struct lane_count){
        .active = least < most ? least : most, .most = most, .settled = least >= most};
}

void lane_count_resume(struct lane_count *count, uint64_t now_ns, uint64_t bytes)
{
    count->window_began_ns = now_ns;
    count->window_bytes = bytes;
}

/* The first window with so many lanes has the last number's bytes in it, and a cold start. */
static void decide(struct lane_count *count, uint64_t rate)
{
    if (count->windows_passed++ == 0) {
        return;
    }
    if (rate > count->best_rate + count->best_rate * GAIN_PERCENT / 100) {
        count->best_rate = rate;
        if (count->active == count->most) {
            count->settled = true;
        } else {
            count->active++;
        }
    } else {
        count->active--;
        count->settled = true;
    }
    count->windows_passed = 0;
}

unsigned lane_count_sample(struct lane_count *count, uint64_t now_ns, uint64_t bytes)
{
    uint64_t time_ns = now_ns - count->window_began_ns;
    uint64_t sent = bytes - count->window_bytes;
    if (count->settled || time_ns < WINDOW_NS || sent < WINDOW_BYTES) {
        return count->active;
    }
    decide(count, (uint64_t)((double)sent * NANOSECONDS_PER_SECOND / (double)time_ns));
    lane_count_resume(count, now_ns, bytes);
    return count->active;
}
