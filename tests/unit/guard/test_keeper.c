/* One datastore, kept: its deadline moves on while heartbeats succeed, and its machines end when
 * they do not. */
#include "test.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "base/deadline.h"
#include "guard/keeper.h"
#include "host.h"
#include "scratch.h"

#define MS NANOSECONDS_PER_MILLISECOND
#define STOP_AFTER_MS 600
#define PATIENCE_NS (20 * NANOSECONDS_PER_SECOND)
#define FILE_LEASE "{\"heartbeat_ms\": 100, \"stop_after_ms\": 600, \"takeover_ms\": 1700}"
#define PATIENT_LEASE "{\"heartbeat_ms\": 100, \"stop_after_ms\": 20000, \"takeover_ms\": 30000}"
#define LOCAL_LEASE "{\"kind\": \"local\"}"

static struct instructions instructions = {.host = "h1", .host_id = "id", .datastore_count = 1};

static const char *below(void **state, const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
    return path;
}

static void make_datastore(void **state, const char *lease)
{
    char text[512];
    struct instructions_datastore *datastore = &instructions.datastores[0];
    snprintf(text, sizeof(text), "{\"drover_datastore\": 1, \"uuid\": \"%s\", \"lease\": %s}",
             HOST_DATASTORE, lease);
    assert_int_equal(mkdir(below(state, "guard"), 0755), 0);
    assert_int_equal(mkdir(below(state, "shared"), 0755), 0);
    scratch_write(state, "shared/drover-datastore.json", text);
    strcpy(datastore->name, "shared");
    strcpy(datastore->uuid, HOST_DATASTORE);
    snprintf(datastore->path, sizeof(datastore->path), "%s", below(state, "shared"));
}

static struct keeper *start(void **state)
{
    struct keeper *keeper = NULL;
    struct error err = ERROR_NONE;
    if (keeper_start(*state, &instructions, &instructions.datastores[0], &keeper, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return keeper;
}

static void end(struct keeper *keeper)
{
    uint64_t limit = clock_monotonic_ns() + PATIENCE_NS;
    keeper_end(keeper);
    while (!keeper_has_ended(keeper)) {
        assert_true(clock_monotonic_ns() < limit);
        clock_sleep_ns(MS);
    }
    keeper_free(keeper);
}

/* Waits until the deadline is later than `moment`; returns it. */
static uint64_t deadline_after(struct keeper *keeper, uint64_t moment)
{
    uint64_t limit = clock_monotonic_ns() + PATIENCE_NS;
    for (;;) {
        uint64_t deadline = keeper_deadline(keeper);
        if (deadline != UINT64_MAX && deadline > moment) {
            return deadline;
        }
        assert_true(clock_monotonic_ns() < limit);
        clock_sleep_ns(MS);
    }
}

static void the_deadline_moves_on(void **state)
{
    make_datastore(state, FILE_LEASE);
    uint64_t before = clock_boottime_ns();
    struct keeper *keeper = start(state);
    uint64_t first = deadline_after(keeper, 0);
    assert_true(first >= before + STOP_AFTER_MS * MS);
    assert_true(first <= clock_boottime_ns() + STOP_AFTER_MS * MS);
    assert_true(deadline_after(keeper, first) > first);
    assert_true(keeper_margin_ns(keeper) == 1100 * MS);
    assert_int_equal(keeper_enforce(keeper), 0);
    end(keeper);
}

static void a_local_datastore_has_no_deadline(void **state)
{
    make_datastore(state, LOCAL_LEASE);
    struct keeper *keeper = start(state);
    clock_sleep_ns(200 * MS);
    assert_true(keeper_deadline(keeper) == UINT64_MAX);
    assert_true(keeper_margin_ns(keeper) == 0);
    assert_int_equal(keeper_enforce(keeper), 0);
    end(keeper);
}

/* An unmounted datastore leaves an empty folder, which is not made one. */
static void an_empty_folder_is_no_datastore(void **state)
{
    make_datastore(state, FILE_LEASE);
    assert_int_equal(unlink(below(state, "shared/drover-datastore.json")), 0);
    struct keeper *keeper = start(state);
    clock_sleep_ns(300 * MS);
    assert_true(keeper_deadline(keeper) == UINT64_MAX);
    assert_int_equal(access(below(state, "shared/drover-datastore.json"), F_OK), -1);
    end(keeper);
}

static void machines_end_when_the_datastore_is_gone(void **state)
{
    char away[256];
    make_datastore(state, FILE_LEASE);
    struct keeper *keeper = start(state);
    deadline_after(keeper, 0);
    struct process_identity machine = host_start_machine(*state, HOST_DATASTORE, 0);
    strcpy(away, below(state, "away"));
    assert_int_equal(rename(below(state, "shared"), away), 0);
    while (!deadline_has_passed(keeper_deadline(keeper))) {
        assert_int_equal(keeper_enforce(keeper), 0);
        assert_true(process_is_alive(&machine));
        clock_sleep_ns(MS);
    }
    uint64_t passed = keeper_deadline(keeper);
    assert_int_equal(keeper_enforce(keeper), 1);
    assert_int_equal(process_wait(&machine, PATIENCE_NS, NULL), 1);
    assert_int_equal(keeper_enforce(keeper), 0);
    assert_int_equal(rename(away, below(state, "shared")), 0);
    deadline_after(keeper, passed);
    end(keeper);
}

/* As a guard that was away for too long finds it: the machine goes before the deadline moves on. */
static void a_missed_deadline_is_final(void **state)
{
    struct deadline_page *page;
    make_datastore(state, FILE_LEASE);
    struct process_identity machine = host_start_machine(*state, HOST_DATASTORE, 0);
    char *path = deadline_path(*state, HOST_DATASTORE);
    assert_int_equal(deadline_create(path, &page, NULL), 0);
    uint64_t missed = clock_boottime_ns() - MS;
    deadline_extend(page, 1, missed);
    struct keeper *keeper = start(state);
    deadline_after(keeper, missed);
    assert_false(process_is_alive(&machine));
    end(keeper);
    deadline_unmap(page);
    free(path);
}

/* Which an agent from before there were guards has started. */
static void a_machine_that_never_had_a_deadline_is_left_alone(void **state)
{
    make_datastore(state, PATIENT_LEASE);
    struct process_identity machine = host_start_machine(*state, HOST_DATASTORE, 0);
    struct keeper *keeper = start(state);
    for (uint64_t deadline = 0; deadline == 0; deadline = keeper_deadline(keeper) % UINT64_MAX) {
        assert_int_equal(keeper_enforce(keeper), 0);
    }
    assert_true(process_is_alive(&machine));
    end(keeper);
    host_end_machine(&machine);
}

/* A machine that an earlier guard let run lives on: its deadline is still ahead. */
static void the_next_keeper_goes_on(void **state)
{
    make_datastore(state, PATIENT_LEASE);
    struct keeper *keeper = start(state);
    uint64_t before = deadline_after(keeper, 0);
    struct process_identity machine = host_start_machine(*state, HOST_DATASTORE, 0);
    end(keeper);
    keeper = start(state);
    assert_true(keeper_deadline(keeper) >= before);
    deadline_after(keeper, before);
    assert_true(process_is_alive(&machine));
    end(keeper);
    host_end_machine(&machine);
}

/* Others judge this host by the new times from then on; no machine runs by the old ones any more.
 */
static void changed_settings_are_taken_when_nothing_runs(void **state)
{
    make_datastore(state, FILE_LEASE);
    struct keeper *keeper = start(state);
    deadline_after(keeper, 0);
    scratch_write(state, "shared/drover-datastore.json",
                  "{\"drover_datastore\": 1, \"uuid\": \"" HOST_DATASTORE "\", \"lease\": "
                  "{\"heartbeat_ms\": 100, \"stop_after_ms\": 700, \"takeover_ms\": 2700}}");
    uint64_t limit = clock_monotonic_ns() + PATIENCE_NS;
    while (keeper_margin_ns(keeper) != 2000 * MS) {
        assert_true(clock_monotonic_ns() < limit);
        clock_sleep_ns(MS);
    }
    deadline_after(keeper, keeper_deadline(keeper));
    end(keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(the_deadline_moves_on),
        scratch_test(a_local_datastore_has_no_deadline),
        scratch_test(an_empty_folder_is_no_datastore),
        scratch_test(machines_end_when_the_datastore_is_gone),
        scratch_test(a_missed_deadline_is_final),
        scratch_test(a_machine_that_never_had_a_deadline_is_left_alone),
        scratch_test(the_next_keeper_goes_on),
        scratch_test(changed_settings_are_taken_when_nothing_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
