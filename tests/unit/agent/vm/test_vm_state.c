/* The states of a VM: which may follow which. */
#include "test.h"

#include "agent/vm/vm_state.h"

static void walk(const enum vm_state *path, size_t length)
{
    enum vm_state state = path[0];
    for (size_t i = 1; i < length; i++) {
        assert_true(vm_state_may_become(state, path[i]));
        vm_state_change(&state, path[i]);
    }
}

#define WALK(...)                              \
    walk((const enum vm_state[]){__VA_ARGS__}, \
         sizeof((const enum vm_state[]){__VA_ARGS__}) / sizeof(enum vm_state))

static void a_life_is_legal(void **state)
{
    (void)state;
    WALK(VM_STATE_STOPPED, VM_STATE_STARTING, VM_STATE_RUNNING, VM_STATE_MIGRATING,
         VM_STATE_ELSEWHERE, VM_STATE_INCOMING, VM_STATE_RUNNING, VM_STATE_STOPPING,
         VM_STATE_STOPPED);
    WALK(VM_STATE_RUNNING, VM_STATE_MIGRATING, VM_STATE_RUNNING); /* a move that was given up */
    WALK(VM_STATE_ELSEWHERE, VM_STATE_INCOMING, VM_STATE_ELSEWHERE);
    WALK(VM_STATE_FAILED, VM_STATE_STOPPING, VM_STATE_STOPPED);
}

static void what_would_make_a_second_copy_is_not(void **state)
{
    (void)state;
    assert_true(vm_state_may_become(VM_STATE_ELSEWHERE, VM_STATE_STARTING)); /* taken over */
    assert_false(vm_state_may_become(VM_STATE_ELSEWHERE, VM_STATE_STOPPING));
    assert_false(vm_state_may_become(VM_STATE_ELSEWHERE, VM_STATE_RUNNING));
    assert_false(vm_state_may_become(VM_STATE_RUNNING, VM_STATE_STARTING));
    assert_false(vm_state_may_become(VM_STATE_RUNNING, VM_STATE_INCOMING));
    assert_false(vm_state_may_become(VM_STATE_FAILED, VM_STATE_STARTING));
}

static void a_claim_is_never_followed_by_another(void **state)
{
    (void)state;
    for (enum vm_state from = 0; from < VM_STATE_COUNT; from++) {
        for (enum vm_state to = 0; to < VM_STATE_COUNT; to++) {
            if (vm_state_is_claimed(from) && vm_state_is_claimed(to)) {
                assert_false(vm_state_may_become(from, to));
            }
        }
    }
}

static void every_state_has_a_name_and_a_way_out(void **state)
{
    (void)state;
    for (enum vm_state from = 0; from < VM_STATE_COUNT; from++) {
        bool way_out = false;
        for (enum vm_state to = 0; to < VM_STATE_COUNT; to++) {
            way_out = way_out || (from != to && vm_state_may_become(from, to));
        }
        assert_true(way_out);
        assert_non_null(vm_state_name(from));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_is_legal),
        cmocka_unit_test(what_would_make_a_second_copy_is_not),
        cmocka_unit_test(a_claim_is_never_followed_by_another),
        cmocka_unit_test(every_state_has_a_name_and_a_way_out),
    };
    return cmocka_run_group_tests_name("agent-vm-state", tests, NULL, NULL);
}
