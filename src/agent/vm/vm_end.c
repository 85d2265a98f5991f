/* The ends of VMs: see vm_end.h. */
#include "agent/vm/vm_end.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guarding.h"
#include "agent/vm/launch.h"
#include "agent/vm/ownership.h"
#include "agent/vm/recoveries.h"
#include "agent/vm/restarts.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

int vm_end_stopped(struct agent *agent, struct vm *vm, struct error *err)
{
    int result = vm->has_runtime ? launch_end(agent, vm, err) : 0;
    if (result < 0) {
        snprintf(vm->problem, sizeof(vm->problem), "%s", err->message);
        inventory_release(agent->inventory, vm, VM_STATE_FAILED);
        return result;
    }
    vm->problem[0] = '\0';
    result = ownership_release(agent, vm, err);
    if (result < 0 && strcmp(vm->owner.host, agent->config->host) == 0) {
        error_wrap(err, "VM %s ended, but this host still owns it", vm->config.name);
        snprintf(vm->problem, sizeof(vm->problem), "%s", err->message);
    }
    bool foreign = ownership_is_foreign(agent, &vm->owner);
    inventory_release(agent->inventory, vm, foreign ? VM_STATE_ELSEWHERE : VM_STATE_STOPPED);
    return result;
}

/* ---- at its deadline ---- */

/* Looked at right after the death: a guard that comes back cannot have moved the deadline far. */
static bool was_deadline(struct agent *agent, const struct vm *vm)
{
    int64_t left_ns;
    return guarding_left(agent, &vm->datastore, &left_ns, NULL) == 0 && left_ns <= 0;
}

/* Touches no datastore: it is away, most likely. */
static void end_at_deadline(struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    struct error reason = ERROR_NONE;
    guarding_check(agent, &vm->datastore, &reason);
    if (launch_end(agent, vm, &err) < 0) {
        snprintf(vm->problem, sizeof(vm->problem), "%s", err.message);
        inventory_release(agent->inventory, vm, VM_STATE_FAILED);
        return;
    }
    restarts_add(agent, vm);
    recoveries_note(
        agent->recoveries, RECOVERY_ENDED, vm->config.name,
        "it was ended at its deadline, since another host may take it over from now on: "
        "%s; it starts again here as soon as it can",
        reason.message);
    vm->problem[0] = '\0';
    inventory_release(agent->inventory, vm, VM_STATE_STOPPED);
}

void vm_end_died(struct agent *agent, struct vm *vm)
{
    char words[512];
    struct error err = ERROR_NONE;
    if (was_deadline(agent, vm)) {
        end_at_deadline(agent, vm);
        return;
    }
    launch_last_words(agent, vm, words, sizeof(words));
    log_info("VM %s has ended%s%s", vm->config.name, words[0] ? "; QEMU's last words: " : "",
             words);
    if (vm_end_stopped(agent, vm, &err) < 0) {
        log_error("%s", err.message);
    }
}

/* ---- noticed by the watch ---- */

struct death {
    struct agent *agent;
    struct vm vm;
};

static void *see_to(void *context)
{
    CLEANUP_FREE struct death *death = context;
    vm_end_died(death->agent, &death->vm);
    return NULL;
}

/* In a thread of its own: the datastore may keep it waiting, and other VMs end too. */
static void see_to_apart(struct death *death)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, see_to, death) == 0) {
        pthread_detach(thread);
    } else {
        see_to(death);
    }
}

void vm_end_noticed(void *context, const char *uuid)
{
    struct agent *agent = context;
    CLEANUP_FREE struct death *death = calloc(1, sizeof(*death));
    struct vm vm;
    if (inventory_find(agent->inventory, uuid, &vm, NULL) < 0 || vm.state != VM_STATE_RUNNING ||
        process_is_alive(&vm.runtime.process)) {
        return; /* whoever claimed it sees to it */
    }
    if (!death) {
        log_error("VM %s has ended, and there is no memory to see to it", vm.config.name);
        return;
    }
    death->agent = agent;
    if (inventory_claim(agent->inventory, uuid, VM_STATE_STOPPING, "", &death->vm, NULL) == 0) {
        see_to_apart(steal_pointer(&death));
    }
}

void vm_end_retry(struct agent *agent, const struct vm *seen)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm || !seen->has_runtime || process_is_alive(&seen->runtime.process) ||
        inventory_claim(agent->inventory, seen->config.uuid, VM_STATE_STOPPING, "", vm, NULL) < 0) {
        return;
    }
    if (vm_end_stopped(agent, vm, &err) == 0) {
        recoveries_note(agent->recoveries, RECOVERY_CLEANED, vm->config.name,
                        "what it had left here, and could not be removed before, is removed: %s",
                        seen->problem);
    }
}

/* ---- leases that nothing here needs ---- */

static bool is_left_over(struct agent *agent, const struct vm *vm)
{
    char ignored[RESTARTS_TEXT_SIZE];
    return vm->state == VM_STATE_STOPPED && strcmp(vm->owner.host, agent->config->host) == 0 &&
           !restarts_describe(agent, vm->config.uuid, ignored);
}

/* Claimed for its end, but it is to run on. */
static void let_run(struct agent *agent, const struct vm *vm)
{
    inventory_release(agent->inventory, vm, VM_STATE_RUNNING);
    vm_end_noticed(agent, vm->config.uuid); /* it may have ended while it was claimed */
}

/* Claimed while it is given up: nobody starts the VM in between. */
int vm_end_release(struct agent *agent, const struct vm *seen, struct error *err)
{
    if (!is_left_over(agent, seen)) {
        return 0;
    }
    CLEANUP_FREE struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm ||
        inventory_claim(agent->inventory, seen->config.uuid, VM_STATE_STOPPING, "", vm, NULL) < 0) {
        return 0;
    }
    if (vm->has_runtime) { /* started since it was seen */
        let_run(agent, vm);
        return 0;
    }
    int result = vm_end_stopped(agent, vm, err);
    if (result == 0) {
        recoveries_note(agent->recoveries, RECOVERY_RELEASED, vm->config.name,
                        "it was this host's, and does not run: every host may start it now");
    }
    return result;
}

/* ---- another host's ---- */

/* Claimed. */
static void end_foreign(struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    int result = launch_end(agent, vm, &err);
    snprintf(vm->problem, sizeof(vm->problem), "%s", result < 0 ? err.message : "");
    inventory_release(agent->inventory, vm, result < 0 ? VM_STATE_FAILED : VM_STATE_ELSEWHERE);
    recoveries_note(agent->recoveries, result < 0 ? RECOVERY_FAILED : RECOVERY_ENDED,
                    vm->config.name,
                    "host %s took it over in epoch %" PRIu64 ", so the copy here was ended%s%s",
                    vm->owner.host, vm->owner.epoch, result < 0 ? ", in vain: " : "", vm->problem);
}

void vm_end_if_foreign(struct agent *agent, const struct vm *seen)
{
    struct lease lease;
    CLEANUP_FREE struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm || ownership_read(agent, seen, &lease, NULL) < 0 ||
        !ownership_is_foreign(agent, &lease) ||
        inventory_claim(agent->inventory, seen->config.uuid, VM_STATE_STOPPING, "", vm, NULL) < 0) {
        return;
    }
    /* Asked again: a move may have come to its end in between. */
    if (ownership_read(agent, vm, &lease, NULL) == 0 && ownership_is_foreign(agent, &lease)) {
        vm->owner = lease;
        end_foreign(agent, vm);
        return;
    }
    let_run(agent, vm);
}
