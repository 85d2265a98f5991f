/* Rate estimate: see rate.h. */
#include "engine/rate.h"

#include "base/clock.h"

#define MEMORY_NS (1.0 * NANOSECONDS_PER_SECOND) /* after so long a sample counts half */

void rate_resume(struct rate *rate, uint64_t now_ns, uint64_t delivered)
{
    rate->last_ns = now_ns;
    rate->last_bytes = delivered;
}

void rate_sample(struct rate *rate, uint64_t now_ns, uint64_t delivered)
{
    if (now_ns <= rate->last_ns || delivered < rate->last_bytes) {
        return;
    }
    double elapsed = (double)(now_ns - rate->last_ns);
    double kept = MEMORY_NS / (MEMORY_NS + elapsed);
    rate->bytes = rate->bytes * kept + (double)(delivered - rate->last_bytes);
    rate->time_ns = rate->time_ns * kept + elapsed;
    rate->last_ns = now_ns;
    rate->last_bytes = delivered;
}

uint64_t rate_per_second(const struct rate *rate)
{
    if (rate->time_ns <= 0) {
        return 0;
    }
    return (uint64_t)(rate->bytes * NANOSECONDS_PER_SECOND / rate->time_ns);
}

uint64_t rate_duration_ns(const struct rate *rate, uint64_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    uint64_t per_second = rate_per_second(rate);
    if (per_second == 0) {
        return UINT64_MAX;
    }
    return (uint64_t)((double)bytes * NANOSECONDS_PER_SECOND / (double)per_second);
}
