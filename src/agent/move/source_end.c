/*
 * How a move ends at the source, in each of its ways: see source_move.h.
 *
 * Nothing here waits for the datastore but the one case in which the VM may have been given away
 * and only its lease can tell: an agent that was about to commit, and a mover that died over it.
 */
#include "agent/move/source_move.h"

#include <inttypes.h>
#include <string.h>

#include "agent/move/link_rate.h"
#include "agent/move/migrate_report.h"
#include "agent/move/move_follow.h"
#include "agent/peer.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/launch.h"
#include "agent/vm/lifecycle.h"
#include "agent/vm/recoveries.h"
#include "agent/vm/vm_end.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "vmm/qemu/migration.h"

#define DISCARD_TIMEOUT_NS (60 * NANOSECONDS_PER_SECOND)
#define ASK_TIMEOUT_NS (5 * NANOSECONDS_PER_SECOND)
#define ASK_NS (100 * NANOSECONDS_PER_MILLISECOND)

/* With it goes the word that this move is never committed any more. */
void source_move_discard(const struct source_move *move)
{
    char path[128];
    struct error err = ERROR_NONE;
    const struct config_peer *peer = config_peer(move->agent->config, move->to);
    snprintf(path, sizeof(path), "/v1/incoming/%s?disowned=1", move->record.move_id);
    if (!peer) {
        return;
    }
    int result = peer_call(move->agent, peer, "DELETE", path, NULL, DISCARD_TIMEOUT_NS, NULL, &err);
    if (result < 0 && result != -ENOENT) {
        log_warning("VM %s: host %s clears up after the move by itself: %s", move->vm.config.name,
                    move->to, err.message);
    }
}

static void on_progress(void *context, const json_t *event)
{
    static const char *const phases[] = {"connect", "pre-copy", "switchover"};
    struct source_move *move = context;
    const char *phase = json_string_value(json_object_get(event, "phase"));
    for (size_t i = 0; phase && i < sizeof(phases) / sizeof(phases[0]); i++) {
        if (strcmp(phase, phases[i]) == 0) {
            task_set_phase(move->task, phases[i]);
        }
    }
    task_set_progress(move->task, json_real_value(json_object_get(event, "fraction")),
                      migrate_progress_to_json(event));
}

static bool is_cancelled(void *context)
{
    struct source_move *move = context;
    return task_is_cancelled(move->task);
}

static void show_waiting(void *context, const char *what)
{
    struct source_move *move = context;
    task_set_waiting(move->task, what);
    inventory_set_waiting(move->agent->inventory, move->vm.config.uuid, what);
}

static const struct move_watcher *watcher_of(struct source_move *move, struct move_watcher *watcher)
{
    *watcher = (struct move_watcher){.progress = on_progress,
                                     .cancelled = is_cancelled,
                                     .waiting = show_waiting,
                                     .context = move};
    return watcher;
}

/* ---- how it ended ---- */

/* Of a move that an earlier agent began, people are told what became of it. */
static void note(const struct source_move *move, enum recovery_kind kind, const char *what)
{
    if (move->resumed) {
        recoveries_note(move->agent->recoveries, kind, move->vm.config.name,
                        "its move to host %s, begun by an earlier agent, %s", move->to, what);
    }
}

static void set_report(const struct source_move *move, const char *outcome, const json_t *source,
                       const json_t *destination)
{
    struct migrate_report report = {
        .from = move->agent->config->host,
        .to = move->to,
        .engine = move->record.native ? "native" : "drover",
        .engine_reason = move->record.engine_reason,
        .outcome = outcome,
        .source = source,
        .destination = destination,
        .forecast = move->forecast,
    };
    task_set_report(move->task, migrate_report_to_json(&report));
}

/* What the destination says of the move, once it has come to an end there. NULL when it is silent.
 */
static json_t *ask_destination(const struct source_move *move)
{
    char path[96];
    const struct config_peer *peer = config_peer(move->agent->config, move->to);
    uint64_t deadline = clock_monotonic_ns() + ASK_TIMEOUT_NS;
    snprintf(path, sizeof(path), "/v1/incoming/%s", move->record.move_id);
    while (peer && clock_monotonic_ns() < deadline) {
        CLEANUP_JSON json_t *answer = NULL;
        if (peer_call(move->agent, peer, "GET", path, NULL, ASK_TIMEOUT_NS, &answer, NULL) < 0) {
            return NULL;
        }
        const char *state = json_string_value(json_object_get(answer, "state"));
        if (state && strcmp(state, "receiving") != 0) {
            return json_incref(answer);
        }
        clock_sleep_ns(ASK_NS);
    }
    return NULL;
}

static int end_moved(struct source_move *move, const json_t *statistics, struct error *err)
{
    struct vm *vm = &move->vm;
    struct error after = ERROR_NONE;
    process_kill(&vm->runtime.process, &after);
    vm->owner = (struct lease){.epoch = move->record.epoch + 1};
    snprintf(vm->owner.host, sizeof(vm->owner.host), "%s", move->to);
    vm->problem[0] = '\0';
    CLEANUP_JSON json_t *there = ask_destination(move);
    set_report(move, "moved", statistics, json_object_get(there, "statistics"));
    link_rate_remember(move->agent->config, move->to,
                       link_rate_of_move(statistics, move->options.bandwidth_limit));
    move_dismiss(move->agent, vm, &move->record);
    if (launch_end(move->agent, vm, &after) < 0) {
        snprintf(vm->problem, sizeof(vm->problem), "it has moved to host %s, but %s", move->to,
                 after.message);
        inventory_release(move->agent->inventory, vm, VM_STATE_FAILED);
        return error_set(err, after.code, "%s", vm->problem);
    }
    inventory_release(move->agent->inventory, vm, VM_STATE_ELSEWHERE);
    log_info("VM %s has moved to host %s", vm->config.name, move->to);
    note(move, RECOVERY_FINISHED, "has come to its end: it runs there");
    const char *state = json_string_value(json_object_get(there, "state"));
    if (state && strcmp(state, "failed") == 0) {
        json_to_error(there, err);
        return error_wrap(err, "VM %s belongs to host %s now, but does not run there",
                          vm->config.name, move->to);
    }
    return 0;
}

/* What the user reads: what has become of the VM, why, and what to do. */
void source_move_explain(const struct source_move *move, struct error *err)
{
    const char *name = move->vm.config.name;
    const char *self = move->agent->config->host;
    if (!process_is_alive(&move->vm.runtime.process)) {
        error_wrap(err, "VM %s ended during its move to host %s", name, move->to);
        error_remedy(err, "its QEMU log on host %s may say why; start it again: drover vm start %s",
                     self, name);
        return;
    }
    if (err->code != ECANCELED) {
        error_wrap(err, "the move to host %s failed", move->to);
    }
    error_wrap(err, "VM %s stays on host %s", name, self);
    if (!err->remedy[0]) {
        error_remedy(err, "it runs as before; move it again when that is put right");
    }
}

/* The VM is this host's, and runs as before. `err` says why it stayed. */
static int end_stayed(struct source_move *move, const json_t *statistics, struct error *err)
{
    struct vm *vm = &move->vm;
    struct error after = ERROR_NONE;
    move_dismiss(move->agent, vm, &move->record);
    source_move_discard(move);
    move_owner_refresh(move->agent, vm);
    if (statistics) {
        set_report(move, "stayed", statistics, NULL);
    }
    source_move_explain(move, err);
    note(move, RECOVERY_UNDONE, "was undone: it stays here");
    vm->problem[0] = '\0';
    if (!process_is_alive(&vm->runtime.process)) {
        vm_end_died(move->agent, vm);
        return -err->code;
    }
    if (record_save(move->agent->config, vm, &after) < 0) {
        log_error("VM %s: %s", vm->config.name, after.message);
    }
    lifecycle_release_running(move->agent, vm);
    return -err->code;
}

/* A mover that died may have left the guest stopped: takes it back. */
static int take_back(struct source_move *move, struct error *err)
{
    CLEANUP_QMP struct qmp qmp = {.fd = -1};
    CLEANUP_FREE char *path =
        record_path(move->agent->config, move->vm.config.uuid, "qemu/qmp.sock");
    int result = path ? qmp_connect(&qmp, path, QMP_TIMEOUT_NS, err)
                      : error_set_errno(err, ENOMEM, "cannot reach QEMU");
    if (result == 0) {
        result = qemu_outgoing_undo(&qmp, err);
    }
    return result < 0 ? result : descriptors_set_carrier(&move->vm, true, err);
}

/* Owned by this host, and stopped: tries once more, else the operator must know. */
static int end_stranded(struct source_move *move, const json_t *statistics, struct error *err)
{
    struct vm *vm = &move->vm;
    struct error reason = ERROR_NONE;
    move_dismiss(move->agent, vm, &move->record);
    if (!process_is_alive(&vm->runtime.process) || take_back(move, &reason) == 0) {
        return end_stayed(move, statistics, err);
    }
    source_move_discard(move);
    move_owner_refresh(move->agent, vm);
    snprintf(vm->problem, sizeof(vm->problem),
             "the move to host %s failed (%.300s), and the guest does not go on here: %.300s",
             move->to, err->message, reason.message);
    inventory_release(move->agent->inventory, vm, VM_STATE_FAILED);
    error_set(err, EIO, "VM %s: %s", vm->config.name, vm->problem);
    return error_remedy(err, "end it and start it again: drover vm stop --force %s",
                        vm->config.name);
}

/* Neither side's any more: a third host took it over, or the destination had it and stopped it or
 * moved it on while no agent was here. QEMU goes first: a mover that dies lets nobody run. */
static int end_lost(struct source_move *move, struct error *err)
{
    struct vm *vm = &move->vm;
    struct error after = ERROR_NONE;
    process_kill(&vm->runtime.process, &after);
    process_kill(&move->record.mover, &after);
    move_dismiss(move->agent, vm, &move->record);
    source_move_discard(move);
    move_owner_refresh(move->agent, vm);
    int result = launch_end(move->agent, vm, &after);
    const char *owner = vm->owner.host[0] ? vm->owner.host : "nobody";
    error_set(err, EBUSY,
              "VM %s is not host %s's any more (it belongs to %s since epoch %" PRIu64
              "), so its copy here was ended",
              vm->config.name, move->agent->config->host, owner, vm->owner.epoch);
    error_remedy(err, "\"drover vm list\" tells where it is; where it is stopped, start it");
    note(move, RECOVERY_ENDED, "was overtaken: it is not this host's any more");
    snprintf(vm->problem, sizeof(vm->problem), "%s", result < 0 ? after.message : "");
    inventory_release(move->agent->inventory, vm,
                      result < 0          ? VM_STATE_FAILED
                      : vm->owner.host[0] ? VM_STATE_ELSEWHERE
                                          : VM_STATE_STOPPED);
    return -err->code;
}

/* The mover died or hung. Only this host could have handed the VM over, and writes down before it
 * does: where that was not written, the VM is still its. */
static int end_without_result(struct source_move *move, struct error *err)
{
    struct move_watcher watcher;
    enum move_owner owner = MOVE_OWNER_SOURCE;
    log_error("%s", err->message);
    if (move->record.committing) {
        owner = move_await_owner(move->agent, &move->vm, &move->record, watcher_of(move, &watcher),
                                 move_owner_reclaim);
    }
    switch (owner) {
    case MOVE_OWNER_SOURCE:
        return end_stranded(move, NULL, err);
    case MOVE_OWNER_DESTINATION:
        return end_moved(move, NULL, err);
    default:
        return end_lost(move, err);
    }
}

int source_move_follow(struct source_move *move, struct error *err)
{
    CLEANUP_JSON json_t *statistics = NULL;
    struct move_watcher watcher;
    enum move_end end = move_follow(move->agent, &move->vm, &move->record,
                                    watcher_of(move, &watcher), &statistics, err);
    task_set_phase(move->task, "finish");
    switch (end) {
    case MOVE_END_MOVED:
        return end_moved(move, statistics, err);
    case MOVE_END_STAYED:
        return end_stayed(move, statistics, err);
    case MOVE_END_STRANDED:
        return end_stranded(move, statistics, err);
    case MOVE_END_LOST:
        return end_lost(move, err);
    default:
        return end_without_result(move, err);
    }
}

int source_move_undo(struct source_move *move, struct error *err)
{
    return end_stranded(move, NULL, err);
}
