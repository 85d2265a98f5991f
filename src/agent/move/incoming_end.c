/*
 * How a move ends at the destination, in each of its ways: see incoming.h.
 */
#include "agent/move/incoming.h"

#include <pthread.h>

#include "agent/move/move_follow.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/launch.h"
#include "agent/vm/lifecycle.h"
#include "agent/vm/ownership.h"
#include "agent/vm/recoveries.h"
#include "agent/vm/vm_end.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "vmm/qemu/migration.h"

#define LAST_BREATH_NS NANOSECONDS_PER_SECOND /* of a QEMU that has closed its monitor */

void incoming_end_populating(struct incoming *incoming)
{
    populate_free(incoming->populate);
    incoming->populate = NULL;
}

static void forget(struct incoming *incoming, enum move_state state, const struct error *err,
                   json_t *statistics)
{
    move_list_end(incoming->agent->moves, incoming->record.move_id, state, err, statistics);
}

/* Of a move that an earlier agent began, people are told what became of it. */
static void note(const struct incoming *incoming, enum recovery_kind kind, const char *what)
{
    if (incoming->resumed) {
        recoveries_note(incoming->agent->recoveries, kind, incoming->vm.config.name,
                        "its move from host %s, begun by an earlier agent, %s",
                        incoming->record.peer, what);
    }
}

static void end_moved(struct incoming *incoming, json_t *statistics)
{
    struct agent *agent = incoming->agent;
    struct vm *vm = &incoming->vm;
    struct error err = ERROR_NONE;
    vm->owner = (struct lease){.epoch = incoming->record.epoch + 1};
    snprintf(vm->owner.host, sizeof(vm->owner.host), "%s", agent->config->host);
    vm->runtime.shadow = false;
    if (record_save(agent->config, vm, &err) < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
    }
    move_let_go(agent, vm, &incoming->record);
    vm->problem[0] = '\0';
    note(incoming, RECOVERY_FINISHED, "has come to its end: it runs here");
    lifecycle_release_running(agent, vm);
    log_info("VM %s has come from host %s, process %d", vm->config.name, incoming->record.peer,
             (int)vm->runtime.process.pid);
    forget(incoming, MOVE_RUNNING, NULL, statistics);
}

/* The source has the VM: nothing of it stays here. */
static void end_abandoned(struct incoming *incoming, const struct error *reason, json_t *statistics)
{
    struct agent *agent = incoming->agent;
    struct vm *vm = &incoming->vm;
    struct error err = ERROR_NONE;
    move_dismiss(agent, vm, &incoming->record);
    int result = launch_end(agent, vm, &err);
    move_owner_refresh(agent, vm);
    snprintf(vm->problem, sizeof(vm->problem), "%s", result < 0 ? err.message : "");
    bool foreign = ownership_is_foreign(agent, &vm->owner);
    inventory_release(agent->inventory, vm,
                      result < 0 ? VM_STATE_FAILED
                                 : (foreign ? VM_STATE_ELSEWHERE : VM_STATE_STOPPED));
    log_info("the move of VM %s from host %s was given up: %s", vm->config.name,
             incoming->record.peer, reason->message);
    note(incoming, RECOVERY_UNDONE, "was undone: nothing of it is left here");
    forget(incoming, MOVE_ABANDONED, reason, statistics);
}

/* It was this host's when its QEMU ended: as any other VM that ends. */
static void end_dead(struct incoming *incoming, const struct error *reason, json_t *statistics)
{
    log_error("VM %s came from host %s, and ended before it ran: %s", incoming->vm.config.name,
              incoming->record.peer, reason->message);
    incoming->vm.runtime.shadow = false;
    incoming->vm.problem[0] = '\0';
    vm_end_died(incoming->agent, &incoming->vm);
    forget(incoming, MOVE_FAILED, reason, statistics);
}

/* This host owns it, its whole state is here, and it does not run: the operator must know. */
static void end_stranded(struct incoming *incoming, const struct error *reason, json_t *statistics)
{
    struct agent *agent = incoming->agent;
    struct vm *vm = &incoming->vm;
    move_dismiss(agent, vm, &incoming->record);
    move_owner_refresh(agent, vm);
    if (process_wait(&vm->runtime.process, LAST_BREATH_NS, NULL) == 1) {
        end_dead(incoming, reason, statistics);
        return;
    }
    snprintf(vm->problem, sizeof(vm->problem), "it came from host %s, but does not run: %.600s",
             incoming->record.peer, reason->message);
    log_error("VM %s: %s", vm->config.name, vm->problem);
    inventory_release(agent->inventory, vm, VM_STATE_FAILED);
    forget(incoming, MOVE_FAILED, reason, statistics);
}

/* A mover that died after the commit left a machine that only waits to be run. */
static int run_here(struct incoming *incoming, struct error *err)
{
    CLEANUP_QMP struct qmp qmp = {.fd = -1};
    struct vm *vm = &incoming->vm;
    CLEANUP_FREE char *path =
        record_path(incoming->agent->config, vm->config.uuid, "qemu/qmp.sock");
    int result = path ? qmp_connect(&qmp, path, QMP_TIMEOUT_NS, err)
                      : error_set_errno(err, ENOMEM, "cannot reach QEMU");
    if (result == 0) {
        result = descriptors_set_carrier(vm, true, err);
    }
    if (result == 0) {
        result = qemu_run(&qmp, err);
    }
    return result < 0 ? result : descriptors_announce(vm, err);
}

static bool is_cancelled(void *context)
{
    const struct incoming *incoming = context;
    return move_list_is_cancelled(incoming->agent->moves, incoming->record.move_id);
}

static bool source_has_kept(void *context)
{
    const struct incoming *incoming = context;
    return move_list_is_disowned(incoming->agent->moves, incoming->record.move_id);
}

static void show_waiting(void *context, const char *what)
{
    struct incoming *incoming = context;
    inventory_set_waiting(incoming->agent->inventory, incoming->vm.config.uuid, what);
}

static const struct move_watcher *watcher_of(struct incoming *incoming,
                                             struct move_watcher *watcher)
{
    *watcher = (struct move_watcher){.cancelled = is_cancelled,
                                     .waiting = show_waiting,
                                     .source_has_kept = source_has_kept,
                                     .context = incoming};
    return watcher;
}

/* The mover died: the lease decides, and is made to where it does not say yet. */
static void end_without_result(struct incoming *incoming, struct error *reason)
{
    struct error err = ERROR_NONE;
    struct move_watcher watcher;
    process_kill(&incoming->record.mover, &err); /* hung, perhaps: it must do nothing more */
    enum move_owner owner = move_await_owner(incoming->agent, &incoming->vm, &incoming->record,
                                             watcher_of(incoming, &watcher), move_owner_withdraw);
    if (owner != MOVE_OWNER_DESTINATION) {
        end_abandoned(incoming, reason, NULL);
    } else if (run_here(incoming, &err) == 0) {
        end_moved(incoming, NULL);
    } else {
        end_stranded(incoming, &err, NULL);
    }
}

/* ---- the thread ---- */

static void *follow(void *context)
{
    CLEANUP_FREE struct incoming *incoming = context;
    struct move_watcher watcher;
    struct error err = ERROR_NONE;
    json_t *statistics;
    enum move_end end = move_follow(incoming->agent, &incoming->vm, &incoming->record,
                                    watcher_of(incoming, &watcher), &statistics, &err);
    incoming_end_populating(incoming);
    switch (end) {
    case MOVE_END_MOVED:
        end_moved(incoming, statistics);
        break;
    case MOVE_END_STAYED:
        end_abandoned(incoming, &err, statistics);
        break;
    case MOVE_END_STRANDED:
        end_stranded(incoming, &err, statistics);
        break;
    default:
        end_without_result(incoming, &err);
        break;
    }
    return NULL;
}

int incoming_follow(struct incoming *incoming, struct error *err)
{
    pthread_t thread;
    int result = pthread_create(&thread, NULL, follow, incoming);
    if (result != 0) {
        return error_set_errno(err, result, "cannot follow the move of VM %s",
                               incoming->vm.config.name);
    }
    pthread_detach(thread);
    return 0;
}
