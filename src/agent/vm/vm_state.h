/* The states of a VM on this host, and which may follow which. */
#pragma once

#include <stdbool.h>

/*
 *              +--> STARTING --+--> RUNNING <--> MIGRATING ---> ELSEWHERE
 *   STOPPED ---+               |     |   ^                         |
 *      ^  ^                    |     v   |                         v
 *      |  +--------------------+   STOPPING        INCOMING <------+
 *      |                             |              |   (to RUNNING, or back to ELSEWHERE)
 *      +-----------------------------+
 *
 * STARTING, STOPPING, MIGRATING and INCOMING are claims: one task holds the VM, and only that task
 * moves it on. FAILED is a VM that needs the operator; its problem text says why.
 */
enum vm_state {
    VM_STATE_STOPPED,
    VM_STATE_STARTING,
    VM_STATE_RUNNING,
    VM_STATE_STOPPING,
    VM_STATE_MIGRATING,
    VM_STATE_INCOMING,
    VM_STATE_FAILED,
    VM_STATE_ELSEWHERE, /* another host owns it */
    VM_STATE_COUNT
};

/* "stopped", "starting", ... as in the API. */
const char *vm_state_name(enum vm_state state);

/* Whether `to` may follow `from`. */
bool vm_state_may_become(enum vm_state from, enum vm_state to);

/* Whether one task holds a VM in this state. */
bool vm_state_is_claimed(enum vm_state state);

/* The one place where a VM's state changes; asserts that it may. */
void vm_state_change(enum vm_state *state, enum vm_state to);
