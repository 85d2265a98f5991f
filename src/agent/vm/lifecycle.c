/* Starting and stopping VMs: see lifecycle.h. */
#include "agent/vm/lifecycle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guarding.h"
#include "agent/vm/launch.h"
#include "agent/vm/record.h"
#include "agent/vm/restarts.h"
#include "agent/vm/vm_end.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "storage/vm_folder.h"
#include "vmm/qemu/qmp.h"

#define PRESS_AGAIN_NS                                                         \
    (10 * NANOSECONDS_PER_SECOND) /* a guest that was booting missed the first \
                                   */
#define POLL_NS (200 * NANOSECONDS_PER_MILLISECOND)

void lifecycle_release_running(struct agent *agent, const struct vm *vm)
{
    struct error err = ERROR_NONE;
    inventory_release(agent->inventory, vm, VM_STATE_RUNNING);
    if (watch_add(agent->watch, vm->config.uuid, &vm->runtime.process, &err) < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
    }
}

/* ---- start ---- */

/* What a task's thread works on; each owns its copy. */
struct job {
    struct agent *agent;
    struct vm vm;
    enum ownership_claim claim;
    bool force;
    uint64_t timeout_ns;
};

static int refuse_devices(const struct vm *vm, struct error *err)
{
    return vm->config.device_count == 0
               ? 0
               : error_set(err, ENOTSUP,
                           "VM %s wants the host device %s; passing devices through is not "
                           "supported yet",
                           vm->config.name, vm->config.devices[0]);
}

/* With memory for it set aside. */
static int take_and_launch(struct job *job, struct task *task, struct error *err)
{
    struct agent *agent = job->agent;
    struct vm *vm = &job->vm;
    uint64_t lapses;
    int result = guarding_mark(agent, &vm->datastore, &lapses, err);
    if (result == 0) {
        result = ownership_take(agent, vm, job->claim, task, err);
    }
    if (result == 0) {
        task_set_phase(task, "start");
        result = launch_start(agent, vm, NULL, lapses, err);
    }
    if (result == 0) {
        inventory_set_runtime(agent->inventory, vm);
    }
    return result;
}

/* Everything that can refuse comes before the lease is taken. */
static int start_vm(struct job *job, struct task *task, struct error *err)
{
    struct agent *agent = job->agent;
    struct vm *vm = &job->vm;
    int result = vm_folder_load(&vm->datastore, vm->config.name, &vm->config, err);
    if (result == 0) {
        result = refuse_devices(vm, err);
    }
    if (result == 0) {
        result = agent_admit(agent, &vm->config, err);
    }
    if (result == 0) {
        result = take_and_launch(job, task, err);
        agent_admitted(agent, &vm->config);
    }
    return result;
}

static int start_task(struct task *task, void *context, struct error *err)
{
    CLEANUP_FREE struct job *job = context;
    struct agent *agent = job->agent;
    struct vm *vm = &job->vm;
    restarts_drop(agent, vm->config.uuid);
    int result = start_vm(job, task, err);
    if (result < 0) {
        struct error after = ERROR_NONE;
        if (vm_end_stopped(agent, vm, &after) < 0) {
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
    return vm_end_stopped(job->agent, &job->vm, err);
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

int lifecycle_start(struct agent *agent, const char *name, enum ownership_claim claim,
                    char ret_task[UUID_TEXT_SIZE], struct error *err)
{
    struct vm found;
    int result = agent_find_vm(agent, name, &found, err);
    if (result < 0) {
        return result;
    }
    if (found.state == VM_STATE_ELSEWHERE && claim == OWNERSHIP_FREE) {
        return ownership_refuse(agent, &found, err);
    }
    struct job job = {.agent = agent, .claim = claim};
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
    if (found.state == VM_STATE_STOPPED && !restarts_drop(agent, found.config.uuid)) {
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
    restarts_drop(agent, vm.config.uuid);
    result = ownership_take(agent, &vm, OWNERSHIP_FREE, NULL, err);
    if (result == 0) {
        result = vm_folder_remove(&vm.datastore, vm.config.name, vm.owner.epoch, err);
    }
    inventory_release(agent->inventory, &vm,
                      result == -EBUSY ? VM_STATE_ELSEWHERE : VM_STATE_STOPPED);
    if (result == 0) {
        inventory_remove(agent->inventory, vm.config.uuid);
        log_info("VM %s is removed", vm.config.name);
    }
    return result;
}
