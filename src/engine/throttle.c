/* A rate as a schedule: see throttle.h. */
#include "engine/throttle.h"

#include "base/clock.h"
#include "engine/guest.h"

#define CREDIT_NS (2 * NANOSECONDS_PER_MILLISECOND) /* of the past that may be made up for */
#define BATCH_MOST 64u

void throttle_set(struct throttle *throttle, uint64_t bytes_per_second)
{
    uint64_t page_ns = bytes_per_second
                           ? ENGINE_PAGE_SIZE * NANOSECONDS_PER_SECOND / bytes_per_second
                           : THROTTLE_LONGEST_WAIT_NS;
    throttle->page_ns = page_ns < THROTTLE_LONGEST_WAIT_NS ? page_ns : THROTTLE_LONGEST_WAIT_NS;
    throttle->due_ns = 0; /* what an earlier rate made writers owe is forgotten */
}

uint64_t throttle_due_ns(const struct throttle *throttle, uint64_t arrived_ns)
{
    uint64_t latest_ns = arrived_ns + THROTTLE_LONGEST_WAIT_NS;
    uint64_t due_ns = throttle->due_ns > arrived_ns ? throttle->due_ns : arrived_ns;
    return throttle->page_ns == 0 ? arrived_ns : due_ns < latest_ns ? due_ns : latest_ns;
}

uint64_t throttle_batch(const struct throttle *throttle)
{
    uint64_t batch = throttle->page_ns ? CREDIT_NS / throttle->page_ns : BATCH_MOST;
    return batch < 1 ? 1 : batch < BATCH_MOST ? batch : BATCH_MOST;
}

void throttle_charge(struct throttle *throttle, uint64_t pages, uint64_t now_ns)
{
    uint64_t earliest_ns = now_ns > CREDIT_NS ? now_ns - CREDIT_NS : 0;
    uint64_t latest_ns = now_ns + THROTTLE_LONGEST_WAIT_NS;
    uint64_t from_ns = throttle->due_ns > earliest_ns ? throttle->due_ns : earliest_ns;
    uint64_t due_ns = from_ns + pages * throttle->page_ns;
    throttle->due_ns = due_ns < latest_ns ? due_ns : latest_ns;
}
