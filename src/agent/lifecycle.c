/* Starting and stopping VMs: see lifecycle.h. */
#include "agent/lifecycle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/launch.h"
#include "agent/record.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "storage/lease.h"
#include "storage/vm_folder.h"
#include "vmm/qemu/qmp.h"

#define PRESS_AGAIN_NS                                                         \
    (10 * NANOSECONDS_PER_SECOND) /* a guest that was booting missed the first \
                                   */
#define POLL_NS (200 * NANOSECONDS_PER_MILLISECOND)

/* ---- ownership ---- */

static int refuse_foreign(const struct agent *agent, const struct vm *vm, const struct lease *owner,
                          struct error *err)
{
    error_set(err, EBUSY,
              "VM %s is owned by host %s (epoch %" PRIu64 "), so host %s may not run it",
              vm->config.name, owner->host, owner->epoch, agent->config->host);
    return error_remedy(err, "start or stop it on host %s, or move it here from there",
                        owner->host);
}

static int own(struct agent *agent, struct vm *vm, struct error *err)
{
    const char *self = agent->config->host;
    int result = lease_read(&vm->datastore, vm->config.name, &vm->owner, err);
    if (result < 0) {
        return result;
    }
    if (vm->owner.host[0] && strcmp(vm->owner.host, self) != 0) {
        return refuse_foreign(agent, vm, &vm->owner, err);
    }
    result = lease_advance(&vm->datastore, vm->config.name, vm->owner.epoch, self, err);
    if (result == -EEXIST && lease_read(&vm->datastore, vm->config.name, &vm->owner, err) == 0) {
        return refuse_foreign(agent, vm, &vm->owner, err);
    }
    if (result == 0) {
        vm->owner.epoch++;
        snprintf(vm->owner.host, sizeof(vm->owner.host), "%s", self);
    }
    return result;
}

int lifecycle_disown(struct agent *agent, struct vm *vm, struct error *err)
{
    const char *name = vm->config.name;
    int result = lease_read(&vm->datastore, name, &vm->owner, err);
    if (result < 0 || strcmp(vm->owner.host, agent->config->host) != 0) {
        return result;
    }
    result = lease_advance(&vm->datastore, name, vm->owner.epoch, "", err);
    if (result == 0) {
        vm->owner.epoch++;
        vm->owner.host[0] = '\0';
    }
    return result;
}

/* ---- the ends of a claim ---- */

void lifecycle_release_running(struct agent *agent, const struct vm *vm)
{
    struct error err = ERROR_NONE;
    inventory_release(agent->inventory, vm, VM_STATE_RUNNING);
    if (watch_add(agent->watch, vm->config.uuid, &vm->runtime.process, &err) < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
    }
}

/* Nothing runs any more: what is left of it goes, then ownership, then the claim. */
static int finish_stopped(struct agent *agent, struct vm *vm, struct error *err)
{
    int result = vm->has_runtime ? launch_end(agent, vm, err) : 0;
    if (result < 0) {
        snprintf(vm->problem, sizeof(vm->problem), "%s", err->message);
        inventory_release(agent->inventory, vm, VM_STATE_FAILED);
        return result;
    }
    vm->problem[0] = '\0';
    result = lifecycle_disown(agent, vm, err);
    if (result < 0) {
        error_wrap(err, "VM %s ended, but this host still owns it", vm->config.name);
        snprintf(vm->problem, sizeof(vm->problem), "%s", err->message);
    }
    bool foreign = vm->owner.host[0] && strcmp(vm->owner.host, agent->config->host) != 0;
    inventory_release(agent->inventory, vm, foreign ? VM_STATE_ELSEWHERE : VM_STATE_STOPPED);
    return result;
}

/* ---- start ---- */

/* What a task's thread works on; each owns its copy. */
struct job {
    struct agent *agent;
    struct vm vm;
    bool force;
    uint64_t timeout_ns;
};

static int check_startable(struct agent *agent, const struct vm *vm, struct error *err)
{
    uint64_t total;
    uint64_t available;
    uint64_t wanted = vm->config.memory_mib << 20;
    if (vm->config.device_count > 0) {
        return error_set(err, ENOTSUP,
                         "VM %s wants the host device %s; passing devices through is "
                         "not supported yet",
                         vm->config.name, vm->config.devices[0]);
    }
    int result = agent_memory(agent, &total, &available, err);
    if (result == 0 && wanted > available) {
        error_set(err, ENOMEM,
                  "VM %s needs %" PRIu64 " MiB of memory, host %s has %" PRIu64 " MiB to give",
                  vm->config.name, vm->config.memory_mib, agent->config->host, available >> 20);
        return error_remedy(err, "stop or move another VM, or give this one less memory");
    }
    return result;
}

static int start_vm(struct agent *agent, struct vm *vm, struct error *err)
{
    int result = check_startable(agent, vm, err);
    if (result == 0) {
        result = vm_folder_load(&vm->datastore, vm->config.name, &vm->config, err);
    }
    if (result == 0) {
        result = own(agent, vm, err);
    }
    return result < 0 ? result : launch_start(agent, vm, NULL, err);
}

static int start_task(struct task *task, void *context, struct error *err)
{
    CLEANUP_FREE struct job *job = context;
    struct agent *agent = job->agent;
    struct vm *vm = &job->vm;
    (void)task;
    int result = start_vm(agent, vm, err);
    if (result < 0) {
        struct error after = ERROR_NONE;
        if (finish_stopped(agent, vm, &after) < 0) {
            log_error("%s", after.message);
        }
        return result;
    }
    log_info("VM %s runs as process %d, user %u", vm->config.name, (int)vm->runtime.process.pid,
             vm->runtime.uid);
    lifecycle_release_running(agent, vm);
    return 0;
}

/* ---- stop ---- */

static int press_power_button(struct qmp *qmp, struct error *err)
{
    return qmp_execute(qmp, "system_powerdown", NULL, QMP_TIMEOUT_NS, NULL, err);
}

static int refuse_slow(const struct vm *vm, uint64_t timeout_ns, struct error *err)
{
    error_set(err, ETIMEDOUT, "VM %s did not power itself off within %" PRIu64 " s",
              vm->config.name, (uint64_t)(timeout_ns / NANOSECONDS_PER_SECOND));
    return error_remedy(err, "look at its console, or end it at once: drover vm stop --force %s",
                        vm->config.name);
}

/* Waits for the guest to power itself off. */
static int await_power_off(struct task *task, const struct job *job, struct qmp *qmp,
                           struct error *err)
{
    uint64_t begun = clock_monotonic_ns();
    uint64_t pressed = begun;
    int waited;
    while ((waited = process_wait(&job->vm.runtime.process, POLL_NS, NULL)) == 0) {
        uint64_t now = clock_monotonic_ns();
        if (task_is_cancelled(task)) {
            return error_set(err, ECANCELED, "VM %s was left running", job->vm.config.name);
        }
        if (now - begun > job->timeout_ns) {
            return refuse_slow(&job->vm, job->timeout_ns, err);
        }
        if (now - pressed > PRESS_AGAIN_NS) {
            pressed = now;
            press_power_button(qmp, NULL); /* if it is just ending, it does not answer */
        }
    }
    return waited < 0 ? error_set_errno(err, waited, "cannot wait for QEMU") : 0;
}

static int power_off(struct task *task, const struct job *job, struct error *err)
{
    CLEANUP_FREE char *path = record_path(job->agent->config, job->vm.config.uuid, "qemu/qmp.sock");
    CLEANUP_QMP struct qmp qmp = {.fd = -1};
    if (!process_is_alive(&job->vm.runtime.process)) {
        return 0;
    }
    int result = path ? qmp_connect(&qmp, path, QMP_TIMEOUT_NS, err)
                      : error_set_errno(err, ENOMEM, "cannot reach QEMU");
    if (result == 0) {
        result = press_power_button(&qmp, err);
    }
    if (result < 0) {
        error_wrap(err, "cannot press the power button of VM %s", job->vm.config.name);
        return error_remedy(err, "end it at once: drover vm stop --force %s", job->vm.config.name);
    }
    return await_power_off(task, job, &qmp, err);
}

static int stop_task(struct task *task, void *context, struct error *err)
{
    CLEANUP_FREE struct job *job = context;
    int result = job->force || !job->vm.has_runtime ? 0 : power_off(task, job, err);
    if (result < 0) {
        lifecycle_release_running(job->agent, &job->vm);
        return result;
    }
    return finish_stopped(job->agent, &job->vm, err);
}

/* ---- the calls ---- */

static int start_job(struct agent *agent, const char *kind, const struct job *template,
                     const struct vm *found, enum vm_state claimed, task_function *function,
                     char ret_task[UUID_TEXT_SIZE], struct error *err)
{
    CLEANUP_FREE struct job *job = malloc(sizeof(*job));
    struct task *task = task_new(agent->tasks, kind, found->config.name);
    if (!job || !task) {
        task_discard(task);
        return error_set_errno(err, ENOMEM, "cannot %s VM %s", kind, found->config.name);
    }
    *job = *template;
    snprintf(ret_task, UUID_TEXT_SIZE, "%s", task_id(task));
    int result =
        inventory_claim(agent->inventory, found->config.uuid, claimed, ret_task, &job->vm, err);
    if (result < 0) {
        task_discard(task);
        return result;
    }
    struct vm *vm = &job->vm;
    result = task_run(task, function, job, err);
    if (result < 0) {
        inventory_release(agent->inventory, vm, found->state);
        return result;
    }
    steal_pointer(&job);
    return 0;
}

int lifecycle_start(struct agent *agent, const char *name, char ret_task[UUID_TEXT_SIZE],
                    struct error *err)
{
    struct vm found;
    int result = agent_find_vm(agent, name, &found, err);
    if (result < 0) {
        return result;
    }
    struct job job = {.agent = agent};
    return start_job(agent, "start", &job, &found, VM_STATE_STARTING, start_task, ret_task, err);
}

int lifecycle_stop(struct agent *agent, const char *name, bool force, uint64_t timeout_ns,
                   char ret_task[UUID_TEXT_SIZE], struct error *err)
{
    struct vm found;
    int result = agent_find_vm(agent, name, &found, err);
    if (result < 0) {
        return result;
    }
    if (found.state == VM_STATE_STOPPED) {
        return error_set(err, EBUSY, "VM %s is stopped already", found.config.name);
    }
    if (found.state == VM_STATE_FAILED && !force) {
        error_set(err, EBUSY, "VM %s has failed: %s", found.config.name, found.problem);
        return error_remedy(err, "end what is left of it: drover vm stop --force %s",
                            found.config.name);
    }
    struct job job = {.agent = agent, .force = force, .timeout_ns = timeout_ns};
    return start_job(agent, "stop", &job, &found, VM_STATE_STOPPING, stop_task, ret_task, err);
}

int lifecycle_remove(struct agent *agent, const char *name, struct error *err)
{
    struct vm vm;
    int result = agent_find_vm(agent, name, &vm, err);
    if (result < 0) {
        return result;
    }
    /* One that is elsewhere is refused below, naming its owner. */
    if (vm.state != VM_STATE_STOPPED && vm.state != VM_STATE_ELSEWHERE) {
        error_set(err, EBUSY, "VM %s is %s; only a stopped VM is removed", vm.config.name,
                  vm_state_name(vm.state));
        return error_remedy(err, "stop it first");
    }
    /* Held, and owned, while its folder goes: no other host starts it meanwhile. */
    result = inventory_claim(agent->inventory, vm.config.uuid, VM_STATE_STOPPING, "", &vm, err);
    if (result < 0) {
        return result;
    }
    result = own(agent, &vm, err);
    if (result == 0) {
        result = vm_folder_remove(&vm.datastore, vm.config.name, err);
    }
    inventory_release(agent->inventory, &vm,
                      result == -EBUSY ? VM_STATE_ELSEWHERE : VM_STATE_STOPPED);
    if (result == 0) {
        inventory_remove(agent->inventory, vm.config.uuid);
        log_info("VM %s is removed", vm.config.name);
    }
    return result;
}

/* ---- a VM that ends by itself ---- */

void lifecycle_ended(void *context, const char *uuid)
{
    struct agent *agent = context;
    struct vm vm;
    struct error err = ERROR_NONE;
    char words[512];
    if (inventory_find(agent->inventory, uuid, &vm, NULL) < 0 || vm.state != VM_STATE_RUNNING ||
        process_is_alive(&vm.runtime.process)) {
        return; /* whoever claimed it sees to it */
    }
    if (inventory_claim(agent->inventory, uuid, VM_STATE_STOPPING, "", &vm, NULL) < 0) {
        return;
    }
    launch_last_words(agent, &vm, words, sizeof(words));
    log_info("VM %s has ended%s%s", vm.config.name, words[0] ? "; QEMU's last words: " : "", words);
    if (finish_stopped(agent, &vm, &err) < 0) {
        log_error("%s", err.message);
    }
}
