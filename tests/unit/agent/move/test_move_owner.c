/* Who owns a VM after a move, from both sides and in every order of events; on a real folder. */
#include "test.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/agent.h"
#include "agent/move/move_owner.h"
#include "base/clock.h"
#include "base/file.h"
#include "scratch.h"
#include "storage/lease.h"

#define VM_NAME "web1"

/* A host that sees the datastore; what a move needs of an agent, and no more. */
struct side {
    struct agent agent;
    struct agent_config config;
    struct vm vm;
    struct move_record move;
};

static struct side *side_of(const struct datastore *datastore, const char *host, const char *peer,
                            enum record_role role)
{
    struct side *side = calloc(1, sizeof(*side));
    assert_non_null(side);
    struct agent_datastore *entry = &side->agent.datastores[0];
    strcpy(side->config.host, host);
    side->agent.config = &side->config;
    side->agent.datastore_count = 1;
    pthread_mutex_init(&entry->mutex, NULL);
    entry->datastore = *datastore;
    atomic_store(&entry->open, true);
    side->vm.datastore = *datastore;
    strcpy(side->vm.config.name, VM_NAME);
    side->move.role = role;
    strcpy(side->move.peer, peer);
    return side;
}

struct scene {
    struct datastore datastore;
    struct side *source;      /* h1 */
    struct side *destination; /* h2 */
};

/* h1 owns the VM, and moves it to h2. */
static struct scene begin(const char *folder)
{
    char path[200];
    struct scene scene;
    struct lease lease;
    struct error err = ERROR_NONE;
    snprintf(path, sizeof(path), "%s/" VM_NAME, folder);
    assert_int_equal(datastore_open("shared", folder, &scene.datastore, &err), 0);
    assert_int_equal(file_make_folders(path, 0700, &err), 0);
    assert_int_equal(lease_advance(&scene.datastore, VM_NAME, 0, "h1", &err), 0);
    assert_int_equal(lease_read(&scene.datastore, VM_NAME, &lease, &err), 0);
    scene.source = side_of(&scene.datastore, "h1", "h2", RECORD_SOURCE);
    scene.destination = side_of(&scene.datastore, "h2", "h1", RECORD_DESTINATION);
    scene.source->move.epoch = scene.destination->move.epoch = lease.epoch;
    return scene;
}

static void end(struct scene *scene)
{
    free(scene->source);
    free(scene->destination);
}

/* By its role; the source as one that has tried before. */
static int try_to_decide(struct side *side, enum move_owner *ret_owner, struct error *err)
{
    return side->move.role == RECORD_SOURCE
               ? move_owner_commit(&side->agent, &side->vm, &side->move, true, ret_owner, err)
               : move_owner_withdraw(&side->agent, &side->vm, &side->move, ret_owner, err);
}

static enum move_owner decide(struct side *side)
{
    enum move_owner owner;
    struct error err = ERROR_NONE;
    assert_int_equal(try_to_decide(side, &owner, &err), 0);
    return owner;
}

static enum move_owner reclaim(struct side *side)
{
    enum move_owner owner;
    struct error err = ERROR_NONE;
    assert_int_equal(move_owner_reclaim(&side->agent, &side->vm, &side->move, &owner, &err), 0);
    return owner;
}

/* What happens to the VM after this move: its next epoch. */
static void pass_on(struct scene *scene, const char *host)
{
    struct lease lease;
    struct error err = ERROR_NONE;
    assert_int_equal(lease_read(&scene->datastore, VM_NAME, &lease, &err), 0);
    assert_int_equal(lease_advance(&scene->datastore, VM_NAME, lease.epoch, host, &err), 0);
}

static void the_first_of_commit_and_withdrawal_decides(void **state)
{
    struct scene scene = begin(*state);
    assert_int_equal(decide(scene.source), MOVE_OWNER_DESTINATION);
    assert_int_equal(decide(scene.destination), MOVE_OWNER_DESTINATION);
    assert_int_equal(decide(scene.source), MOVE_OWNER_DESTINATION); /* asked again */
    assert_int_equal(reclaim(scene.source), MOVE_OWNER_DESTINATION);
    end(&scene);
}

/* After that a commit of the same move comes too late, whoever sent it. */
static void what_was_not_committed_is_reclaimed(void **state)
{
    struct scene scene = begin(*state);
    assert_int_equal(reclaim(scene.source), MOVE_OWNER_SOURCE);
    assert_int_equal(decide(scene.source), MOVE_OWNER_SOURCE);
    assert_int_equal(decide(scene.destination), MOVE_OWNER_SOURCE);
    end(&scene);
}

static void a_withdrawal_leaves_it_to_the_source(void **state)
{
    struct scene scene = begin(*state);
    assert_int_equal(decide(scene.destination), MOVE_OWNER_SOURCE);
    assert_int_equal(decide(scene.source), MOVE_OWNER_SOURCE);
    assert_int_equal(decide(scene.destination), MOVE_OWNER_SOURCE);
    end(&scene);
}

/* A source's agent that was away for long must not take what came after its commit for its own. */
static void what_the_destination_did_with_it_never_brings_it_back_to_the_source(void **state)
{
    static const char *const later[] = {"", "h3", "h2"};
    for (size_t i = 0; i < 3; i++) {
        char folder[100];
        snprintf(folder, sizeof(folder), "%s/%zu", (char *)*state, i);
        assert_int_equal(mkdir(folder, 0700), 0);
        struct scene scene = begin(folder);
        assert_int_equal(decide(scene.source), MOVE_OWNER_DESTINATION);
        pass_on(&scene, "");
        pass_on(&scene, later[i]);
        assert_int_equal(decide(scene.source), MOVE_OWNER_ANOTHER);
        assert_int_equal(reclaim(scene.source), MOVE_OWNER_ANOTHER);
        assert_int_equal(decide(scene.destination), MOVE_OWNER_ANOTHER);
        end(&scene);
    }
}

static void a_third_host_that_took_it_over_leaves_neither_side_anything(void **state)
{
    struct scene scene = begin(*state);
    pass_on(&scene, "h3");
    assert_int_equal(decide(scene.source), MOVE_OWNER_ANOTHER);
    assert_int_equal(decide(scene.destination), MOVE_OWNER_ANOTHER);
    end(&scene);
}

static void a_datastore_that_is_away_tells_nothing(void **state)
{
    struct scene scene = begin(*state);
    enum move_owner owner;
    struct error err = ERROR_NONE;
    struct side *side = scene.source;
    strcpy(side->agent.datastores[0].problem, "gone");
    assert_int_equal(try_to_decide(side, &owner, &err), -EAGAIN);
    assert_non_null(strstr(err.message, "shared"));
    end(&scene);
}

/* A source that knows that nobody committed keeps the VM. One that may have tried before knows
 * nothing (that attempt may still be carried out), and no more does a destination. */
static void a_full_datastore_leaves_it_to_a_source_that_never_tried(void **state)
{
    char folder[200];
    struct error err = ERROR_NONE;
    enum move_owner owner;
    snprintf(folder, sizeof(folder), "%s/small", (char *)*state);
    assert_int_equal(file_make_folders(folder, 0700, &err), 0);
    if (mount("none", folder, "tmpfs", 0, "nr_inodes=5") < 0) {
        skip(); /* takes root */
    }
    struct scene scene = begin(folder); /* root, marker, VM folder, first epoch */
    struct side *side = scene.source;
    assert_int_equal(try_to_decide(scene.destination, &owner, &err), -EAGAIN);
    assert_int_equal(try_to_decide(side, &owner, &err), -EAGAIN);
    assert_int_equal(move_owner_commit(&side->agent, &side->vm, &side->move, false, &owner, &err),
                     0);
    assert_int_equal(owner, MOVE_OWNER_SOURCE);
    assert_int_equal(err.code, ENOSPC);
    assert_int_equal(umount(folder), 0);
    end(&scene);
}

/* NEW: by a test that stands still for a while, too. */
#define NEW_S (-3600)
#define OLD_S 7

static int commit(struct side *side, int seconds_ago, bool tried, enum move_owner *ret_owner,
                  struct error *err)
{
    uint64_t asked_at_ns =
        clock_boottime_ns() - (uint64_t)(seconds_ago * (int64_t)NANOSECONDS_PER_SECOND);
    uint64_t late_ns = move_owner_lateness_ns(&side->vm, asked_at_ns);
    *err = ERROR_NONE;
    return late_ns > 0
               ? move_owner_take_back(&side->agent, &side->vm, &side->move, tried, late_ns,
                                      ret_owner, err)
               : move_owner_commit(&side->agent, &side->vm, &side->move, tried, ret_owner, err);
}

static void let_guest_live(struct side *side)
{
    process_self(&side->vm.runtime.process);
}

static uint64_t epoch_of(const struct scene *scene)
{
    struct lease lease;
    struct error err = ERROR_NONE;
    assert_int_equal(lease_read(&scene->datastore, VM_NAME, &lease, &err), 0);
    return lease.epoch;
}

static void a_question_that_is_new_is_committed(void **state)
{
    struct scene scene = begin(*state);
    enum move_owner owner;
    struct error err;
    let_guest_live(scene.source);
    assert_int_equal(commit(scene.source, NEW_S, false, &owner, &err), 0);
    assert_int_equal(owner, MOVE_OWNER_DESTINATION);
    assert_int_equal(err.code, 0);
    end(&scene);
}

/* It takes no datastore to know that what nobody tried to give away is still here. */
static void a_question_that_is_old_is_taken_back(void **state)
{
    struct scene scene = begin(*state);
    enum move_owner owner;
    struct error err;
    let_guest_live(scene.source);
    strcpy(scene.source->agent.datastores[0].problem, "gone");
    assert_int_equal(commit(scene.source, OLD_S, false, &owner, &err), 0);
    assert_int_equal(owner, MOVE_OWNER_SOURCE);
    assert_int_equal(err.code, ETIMEDOUT);
    assert_non_null(strstr(err.message, "s after host h2 was ready"));
    assert_non_null(strstr(err.remedy, "h1"));
    assert_int_equal(epoch_of(&scene), scene.source->move.epoch);
    assert_int_equal(decide(scene.destination), MOVE_OWNER_SOURCE);
    end(&scene);
}

/* A commit that may be on its way comes too late then. */
static void where_somebody_tried_already_it_takes_an_epoch(void **state)
{
    struct scene scene = begin(*state);
    enum move_owner owner;
    struct error err;
    let_guest_live(scene.source);
    strcpy(scene.source->agent.datastores[0].problem, "gone");
    assert_int_equal(commit(scene.source, OLD_S, true, &owner, &err), -EAGAIN);
    scene.source->agent.datastores[0].problem[0] = '\0';
    assert_int_equal(commit(scene.source, OLD_S, true, &owner, &err), 0);
    assert_int_equal(owner, MOVE_OWNER_SOURCE);
    assert_int_equal(err.code, ETIMEDOUT);
    assert_int_equal(epoch_of(&scene), scene.source->move.epoch + 1);
    assert_int_equal(decide(scene.source), MOVE_OWNER_SOURCE);
    end(&scene);
}

static void a_commit_that_came_stays_however_old_the_question_is(void **state)
{
    struct scene scene = begin(*state);
    enum move_owner owner;
    struct error err;
    let_guest_live(scene.source);
    assert_int_equal(decide(scene.source), MOVE_OWNER_DESTINATION);
    assert_int_equal(commit(scene.source, OLD_S, true, &owner, &err), 0);
    assert_int_equal(owner, MOVE_OWNER_DESTINATION);
    assert_int_equal(err.code, 0);
    end(&scene);
}

static void a_guest_that_cannot_go_on_here_is_handed_over_however_late(void **state)
{
    struct scene scene = begin(*state);
    enum move_owner owner;
    struct error err;
    assert_int_equal(commit(scene.source, OLD_S, false, &owner, &err), 0); /* no such process */
    assert_int_equal(owner, MOVE_OWNER_DESTINATION);
    end(&scene);
}

static void where_hosts_stop_their_machines_sooner_a_question_is_old_sooner(void **state)
{
    struct scene scene = begin(*state);
    struct vm *vm = &scene.source->vm;
    let_guest_live(scene.source);
    uint64_t asked_at_ns = clock_boottime_ns() - 2 * NANOSECONDS_PER_SECOND;
    vm->datastore.lease.stop_after_ns = NANOSECONDS_PER_SECOND;
    assert_true(move_owner_lateness_ns(vm, asked_at_ns) >= 2 * NANOSECONDS_PER_SECOND);
    vm->datastore.lease.stop_after_ns = 7200 * NANOSECONDS_PER_SECOND;
    asked_at_ns = clock_boottime_ns() - 3600 * NANOSECONDS_PER_SECOND;
    assert_true(move_owner_lateness_ns(vm, asked_at_ns) > 0);
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(the_first_of_commit_and_withdrawal_decides),
        scratch_test(what_was_not_committed_is_reclaimed),
        scratch_test(a_withdrawal_leaves_it_to_the_source),
        scratch_test(what_the_destination_did_with_it_never_brings_it_back_to_the_source),
        scratch_test(a_third_host_that_took_it_over_leaves_neither_side_anything),
        scratch_test(a_datastore_that_is_away_tells_nothing),
        scratch_test(a_full_datastore_leaves_it_to_a_source_that_never_tried),
        scratch_test(a_question_that_is_new_is_committed),
        scratch_test(a_question_that_is_old_is_taken_back),
        scratch_test(where_somebody_tried_already_it_takes_an_epoch),
        scratch_test(a_commit_that_came_stays_however_old_the_question_is),
        scratch_test(where_hosts_stop_their_machines_sooner_a_question_is_old_sooner),
        scratch_test(a_guest_that_cannot_go_on_here_is_handed_over_however_late),
    };
    return cmocka_run_group_tests_name("agent-move-owner", tests, NULL, NULL);
}
