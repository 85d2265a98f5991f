/* The states of a VM: see vm_state.h. */
#include "agent/vm/vm_state.h"

#include <assert.h>

#define TO(state) (1U << VM_STATE_##state)

static const struct {
    const char *name;
    bool claimed;
    unsigned next; /* set of states that may follow */
} states[VM_STATE_COUNT] = {
    [VM_STATE_STOPPED] = {"stopped", false,
                          TO(STARTING) | TO(STOPPING) | TO(INCOMING) | TO(ELSEWHERE) | TO(FAILED)},
    [VM_STATE_STARTING] = {"starting", true,
                           TO(RUNNING) | TO(STOPPED) | TO(ELSEWHERE) | TO(FAILED)},
    [VM_STATE_RUNNING] = {"running", false, TO(STOPPING) | TO(MIGRATING)},
    [VM_STATE_STOPPING] = {"stopping", true,
                           TO(STOPPED) | TO(RUNNING) | TO(FAILED) | TO(ELSEWHERE)},
    [VM_STATE_MIGRATING] = {"migrating", true,
                            TO(RUNNING) | TO(ELSEWHERE) | TO(STOPPED) | TO(FAILED)},
    [VM_STATE_INCOMING] = {"incoming", true,
                           TO(RUNNING) | TO(ELSEWHERE) | TO(STOPPED) | TO(FAILED)},
    [VM_STATE_FAILED] = {"failed", false, TO(STOPPING) | TO(STOPPED) | TO(ELSEWHERE)},
    [VM_STATE_ELSEWHERE] = {"elsewhere", false,
                            TO(STARTING) | TO(INCOMING) | TO(STOPPED) | TO(FAILED)},
};

const char *vm_state_name(enum vm_state state)
{
    return states[state].name;
}

bool vm_state_may_become(enum vm_state from, enum vm_state to)
{
    return (states[from].next & (1U << to)) != 0;
}

bool vm_state_is_claimed(enum vm_state state)
{
    return states[state].claimed;
}

void vm_state_change(enum vm_state *state, enum vm_state to)
{
    assert(vm_state_may_become(*state, to));
    *state = to;
}
