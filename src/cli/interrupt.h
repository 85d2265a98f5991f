/* Ctrl-C as something to ask about, not as something that happens: no handler, no global. */
#pragma once

#include <signal.h>
#include <stdbool.h>

/* Holds SIGINT back from now on; *ret_before restores with interrupt_release(). */
void interrupt_hold(sigset_t *ret_before);

/* Whether one came since the last call. */
bool interrupt_take(void);

void interrupt_release(const sigset_t *before);
