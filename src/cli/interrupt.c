/* Interrupts: see interrupt.h. */
#include "cli/interrupt.h"

#include <stddef.h>
#include <time.h>

static void interrupt_set(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGINT);
}

void interrupt_hold(sigset_t *ret_before)
{
    sigset_t set;
    interrupt_set(&set);
    sigprocmask(SIG_BLOCK, &set, ret_before);
}

bool interrupt_take(void)
{
    const struct timespec at_once = {0};
    sigset_t set;
    interrupt_set(&set);
    return sigtimedwait(&set, NULL, &at_once) == SIGINT;
}

void interrupt_release(const sigset_t *before)
{
    sigprocmask(SIG_SETMASK, before, NULL);
}
