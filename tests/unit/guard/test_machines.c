/* Finding a datastore's machines by their records, and nobody else's processes. */
#include "test.h"

#include "base/cleanup.h"
#include "guard/machines.h"
#include "host.h"
#include "scratch.h"

static void machines_of_one_datastore_are_killed(void **state)
{
    struct process_identity mine[2] = {host_start_machine(*state, HOST_DATASTORE, 0),
                                       host_start_machine(*state, HOST_DATASTORE, 1)};
    struct process_identity other = host_start_machine(*state, HOST_OTHER_DATASTORE, 2);
    assert_int_equal(machines_count(*state, NULL), 3);
    assert_int_equal(machines_count(*state, HOST_DATASTORE), 2);
    assert_int_equal(machines_kill(*state, HOST_DATASTORE), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(process_wait(&mine[i], UINT64_MAX, NULL), 1);
    }
    assert_int_equal(machines_count(*state, HOST_DATASTORE), 0);
    assert_int_equal(machines_count(*state, NULL), 1);
    assert_true(process_is_alive(&other));
    host_end_machine(&other);
}

/* A record may be older than the process that has the number now. */
static void a_reused_number_is_nobody(void **state)
{
    struct process_identity machine = host_start_machine(*state, HOST_DATASTORE, 0);
    struct process_identity stale = {machine.pid, machine.start_time - 1};
    host_record_machine(*state, HOST_DATASTORE, 0, &stale);
    assert_int_equal(machines_kill(*state, HOST_DATASTORE), 0);
    assert_true(process_is_alive(&machine));
    host_end_machine(&machine);
}

static void what_does_not_run_is_not_counted(void **state)
{
    struct process_identity not_started = {0};
    char path[256];
    assert_int_equal(machines_count(*state, NULL), 0); /* no folder yet */
    host_record_machine(*state, HOST_DATASTORE, 0, &not_started);
    assert_int_equal(machines_count(*state, NULL), 0);
    snprintf(path, sizeof(path), "%s/vms/5d9c1f0a-0000-4000-8000-000000000000/state.json",
             (const char *)*state);
    CLEANUP_FILE FILE *file = fopen(path, "we");
    fputs("[1, 2", file);
    fflush(file);
    assert_int_equal(machines_kill(*state, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(machines_of_one_datastore_are_killed),
        scratch_test(a_reused_number_is_nobody),
        scratch_test(what_does_not_run_is_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
