/* The inventory: one claim a VM, and what a datastore says never overrides what is known here. */
#include "test.h"

#include "agent/vm/inventory.h"

#define UUID_WEB1 "11111111-2222-4333-8444-555555555555"
#define STORE "0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4a"

static struct vm seen_vm(const char *owner)
{
    struct vm vm = {.owner = {.epoch = 3}};
    snprintf(vm.config.name, sizeof(vm.config.name), "web1");
    snprintf(vm.config.uuid, sizeof(vm.config.uuid), UUID_WEB1);
    snprintf(vm.datastore.uuid, sizeof(vm.datastore.uuid), STORE);
    snprintf(vm.owner.host, sizeof(vm.owner.host), "%s", owner);
    return vm;
}

static void observe(struct inventory *inventory, const char *owner)
{
    struct vm seen = seen_vm(owner);
    inventory_observe(inventory, inventory_observe_begin(inventory), &seen);
}

static enum vm_state state_of(struct inventory *inventory)
{
    struct error err = ERROR_NONE;
    struct vm vm;
    assert_int_equal(inventory_find(inventory, "web1", &vm, &err), 0);
    return vm.state;
}

static void the_owner_decides_where_a_vm_is(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    (void)state;
    observe(inventory, "");
    assert_int_equal(state_of(inventory), VM_STATE_STOPPED);
    observe(inventory, "h2");
    assert_int_equal(state_of(inventory), VM_STATE_ELSEWHERE);
    observe(inventory, "h1");
    assert_int_equal(state_of(inventory), VM_STATE_STOPPED);
    inventory_free(inventory);
}

static void a_vm_is_found_by_name_and_by_uuid(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    struct vm vm;
    (void)state;
    observe(inventory, "");
    assert_int_equal(inventory_find(inventory, UUID_WEB1, &vm, &err), 0);
    assert_string_equal(vm.config.name, "web1");
    assert_int_equal(inventory_find(inventory, "web2", &vm, &err), -ENOENT);
    inventory_free(inventory);
}

static void a_second_claim_is_refused_and_names_the_task(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    struct vm vm;
    struct vm other;
    (void)state;
    observe(inventory, "");
    assert_int_equal(inventory_claim(inventory, UUID_WEB1, VM_STATE_STARTING, "task-1", &vm, &err),
                     0);
    assert_int_equal(
        inventory_claim(inventory, UUID_WEB1, VM_STATE_STOPPING, "task-2", &other, &err), -EBUSY);
    assert_non_null(strstr(err.remedy, "task-1"));
    inventory_release(inventory, &vm, VM_STATE_STOPPED);
    assert_int_equal(inventory_claim(inventory, UUID_WEB1, VM_STATE_STARTING, "task-3", &vm, &err),
                     0);
    inventory_free(inventory);
}

static void a_vm_of_another_host_can_only_be_taken_over_or_come(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    struct vm vm;
    (void)state;
    observe(inventory, "h2");
    assert_int_equal(inventory_claim(inventory, UUID_WEB1, VM_STATE_STOPPING, "", &vm, &err),
                     -EBUSY);
    assert_non_null(strstr(err.message, "h2"));
    assert_int_equal(inventory_claim(inventory, UUID_WEB1, VM_STATE_STARTING, "", &vm, &err), 0);
    inventory_free(inventory);
}

static void an_older_look_changes_nothing(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    struct vm vm;
    struct vm seen = seen_vm("h2");
    (void)state;
    observe(inventory, "");
    uint64_t begun = inventory_observe_begin(inventory);
    assert_int_equal(inventory_claim(inventory, UUID_WEB1, VM_STATE_STARTING, "", &vm, &err), 0);
    inventory_release(inventory, &vm, VM_STATE_STOPPED);
    inventory_observe(inventory, begun, &seen);
    assert_int_equal(state_of(inventory), VM_STATE_STOPPED);
    inventory_observe_end(inventory, begun, STORE); /* nor does it forget */
    assert_int_equal(state_of(inventory), VM_STATE_STOPPED);
    inventory_free(inventory);
}

static void a_vm_with_a_process_here_is_not_observed_away(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    struct vm vm;
    (void)state;
    observe(inventory, "");
    assert_int_equal(inventory_claim(inventory, UUID_WEB1, VM_STATE_STARTING, "", &vm, &err), 0);
    vm.has_runtime = true;
    inventory_release(inventory, &vm, VM_STATE_RUNNING);
    observe(inventory, "h2");
    assert_int_equal(state_of(inventory), VM_STATE_RUNNING);
    inventory_observe_end(inventory, inventory_observe_begin(inventory), STORE);
    assert_int_equal(state_of(inventory), VM_STATE_RUNNING);
    inventory_free(inventory);
}

static void a_folder_that_is_gone_is_forgotten(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    struct vm vm;
    (void)state;
    observe(inventory, "");
    uint64_t begun = inventory_observe_begin(inventory);
    inventory_observe_end(inventory, begun, "another datastore");
    assert_int_equal(inventory_find(inventory, "web1", &vm, &err), 0);
    inventory_observe_end(inventory, begun, STORE);
    assert_int_equal(inventory_find(inventory, "web1", &vm, &err), -ENOENT);
    inventory_free(inventory);
}

static void a_bad_file_shows_as_failed_until_it_is_put_right(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct vm seen = {.unreadable = true, .problem = "vm.json is from a newer version"};
    (void)state;
    snprintf(seen.config.name, sizeof(seen.config.name), "web1");
    inventory_observe(inventory, inventory_observe_begin(inventory), &seen);
    assert_int_equal(state_of(inventory), VM_STATE_FAILED);
    observe(inventory, "");
    assert_int_equal(state_of(inventory), VM_STATE_STOPPED);
    inventory_free(inventory);
}

static void slots_are_given_lowest_first_and_taken_back(void **state)
{
    struct inventory *inventory = inventory_new("h1");
    struct error err = ERROR_NONE;
    (void)state;
    inventory_use_slot(inventory, 1);
    assert_int_equal(inventory_take_slot(inventory, &err), 0);
    assert_int_equal(inventory_take_slot(inventory, &err), 2);
    inventory_free_slot(inventory, 0);
    assert_int_equal(inventory_take_slot(inventory, &err), 0);
    for (int i = 3; i < INVENTORY_SLOTS; i++) {
        assert_int_equal(inventory_take_slot(inventory, &err), i);
    }
    assert_int_equal(inventory_take_slot(inventory, &err), -ENOSPC);
    inventory_free(inventory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owner_decides_where_a_vm_is),
        cmocka_unit_test(a_vm_is_found_by_name_and_by_uuid),
        cmocka_unit_test(a_second_claim_is_refused_and_names_the_task),
        cmocka_unit_test(a_vm_of_another_host_can_only_be_taken_over_or_come),
        cmocka_unit_test(an_older_look_changes_nothing),
        cmocka_unit_test(a_vm_with_a_process_here_is_not_observed_away),
        cmocka_unit_test(a_folder_that_is_gone_is_forgotten),
        cmocka_unit_test(a_bad_file_shows_as_failed_until_it_is_put_right),
        cmocka_unit_test(slots_are_given_lowest_first_and_taken_back),
    };
    return cmocka_run_group_tests_name("agent-inventory", tests, NULL, NULL);
}
