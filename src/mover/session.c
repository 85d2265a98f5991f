/* What both sides of a move give the engine: see session.h. */
#include "mover/session.h"

#include "base/clock.h"

static uint64_t now_ns(void *clock)
{
    (void)clock;
    return clock_monotonic_ns();
}

static void sleep_ns(void *clock, uint64_t duration_ns)
{
    (void)clock;
    clock_sleep_ns(duration_ns);
}

struct engine_clock session_clock(void)
{
    return (struct engine_clock){.now_ns = now_ns, .sleep_ns = sleep_ns};
}

bool session_cancelled(void *server)
{
    return atomic_load(&((struct control_server *)server)->cancelled);
}
