/* What both sides of a move give the engine: see session.h. */
#include "mover/session.h"

#include <string.h>

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

static uint64_t work_ns(void *clock)
{
    (void)clock;
    return clock_thread_ns();
}

struct engine_clock session_clock(void)
{
    return (struct engine_clock){.now_ns = now_ns, .sleep_ns = sleep_ns, .work_ns = work_ns};
}

bool session_cancelled(void *server)
{
    return atomic_load(&((struct control_server *)server)->cancelled);
}

int session_take_key(struct mover_setup *setup, struct secure_context **ret_context,
                     struct error *err)
{
    enum secure_role role = setup->role == MOVER_ROLE_SOURCE ? SECURE_CLIENT : SECURE_SERVER;
    *ret_context = NULL;
    if (!setup->encrypted) {
        return 0;
    }
    int result = secure_context_new(role, setup->key, setup->move_id, ret_context, err);
    explicit_bzero(setup->key, sizeof(setup->key));
    return result;
}
