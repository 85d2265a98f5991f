/* Finding VMs again: see adopt.h. */
#include "agent/adopt.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "agent/move/migrate_destination.h"
#include "agent/move/migrate_source.h"
#include "agent/vm/launch.h"
#include "agent/vm/ownership.h"
#include "agent/vm/record.h"
#include "agent/vm/recoveries.h"
#include "agent/vm/vm_end.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/uuid.h"

/* Ended, or started halfway, while no agent was there. */
static void clean_up(struct agent *agent, struct vm *vm, const char *why)
{
    struct error err = ERROR_NONE;
    int result = launch_end(agent, vm, &err);
    if (result == 0) {
        result = ownership_release(agent, vm, &err);
    }
    if (result < 0) {
        recoveries_note(agent->recoveries, RECOVERY_FAILED, vm->config.name,
                        "%s; cleaning up failed: %s", why, err.message);
    } else {
        recoveries_note(agent->recoveries, RECOVERY_CLEANED, vm->config.name,
                        "%s; what it left here is removed", why);
    }
}

/* Claimed, as it were: nobody else knows of it yet. */
static void see_to_death(struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    vm->state = VM_STATE_STOPPING;
    if (inventory_add(agent->inventory, vm, &err) < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
        return;
    }
    recoveries_note(agent->recoveries, RECOVERY_CLEANED, vm->config.name,
                    "it ended while no agent ran; what it left here is removed");
    vm_end_died(agent, vm);
}

static void adopt_running(struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    vm->state = VM_STATE_RUNNING;
    int result = inventory_add(agent->inventory, vm, &err);
    if (result == 0) {
        result = watch_add(agent->watch, vm->config.uuid, &vm->runtime.process, &err);
    }
    if (result < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
        return;
    }
    recoveries_note(agent->recoveries, RECOVERY_ADOPTED, vm->config.name,
                    "it is found again, running as process %d", (int)vm->runtime.process.pid);
}

static void adopt_move(struct agent *agent, struct vm *vm, const struct move_record *move)
{
    struct error err = ERROR_NONE;
    bool source = move->role == RECORD_SOURCE;
    vm->state = source ? VM_STATE_MIGRATING : VM_STATE_INCOMING;
    recoveries_note(agent->recoveries, RECOVERY_ADOPTED, vm->config.name,
                    "it is found again in the middle of its move %s host %s (%s)",
                    source ? "to" : "from", move->peer, move->move_id);
    int result =
        source ? migrate_resume(agent, vm, move, &err) : incoming_resume(agent, vm, move, &err);
    if (result < 0) {
        recoveries_note(agent->recoveries, RECOVERY_FAILED, vm->config.name, "%s", err.message);
    }
}

/* Whether another host owns it. False while the datastore does not tell: what runs has a deadline,
 * and is looked at again when the datastore answers (datastore_watch.c). */
static bool is_foreign(struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    if (ownership_read(agent, vm, &lease, &err) < 0) {
        log_warning("VM %s: %s", vm->config.name, err.message);
        snprintf(vm->owner.host, sizeof(vm->owner.host), "%s", agent->config->host);
        return false;
    }
    vm->owner = lease;
    return strcmp(lease.host, agent->config->host) != 0;
}

static void adopt_one(struct agent *agent, const char *uuid)
{
    struct error err = ERROR_NONE;
    struct move_record move;
    CLEANUP_FREE struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm || record_load(agent->config, uuid, vm, &err) < 0) {
        recoveries_note(agent->recoveries, RECOVERY_FAILED, "", "cannot find VM %s again: %s", uuid,
                        vm ? err.message : "no memory");
        return;
    }
    inventory_use_slot(agent->inventory, vm->runtime.slot);
    bool foreign = is_foreign(agent, vm);
    int moving = record_load_move(agent->config, uuid, &move, &err);
    if (moving < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
    }
    if (moving > 0) {
        adopt_move(agent, vm, &move);
    } else if (vm->runtime.shadow) {
        clean_up(agent, vm, "it was to come here, and its move was over or had not begun");
    } else if (foreign) {
        clean_up(agent, vm, "it does not belong to this host"); /* so it may not run here */
    } else if (!process_is_alive(&vm->runtime.process)) {
        see_to_death(agent, vm);
    } else {
        adopt_running(agent, vm);
    }
}

void adopt_all(struct agent *agent)
{
    CLEANUP_FREE char *path = file_path("%s/vms", agent->config->run_folder);
    CLEANUP_DIRECTORY DIR *folder = path ? opendir(path) : NULL;
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        if (uuid_is_valid(entry->d_name)) {
            adopt_one(agent, entry->d_name);
        }
    }
    for (size_t i = 0; i < agent->datastore_count; i++) {
        if (datastores_check(agent, &agent->datastores[i], NULL) == 0) {
            adopt_datastore(agent, &agent->datastores[i]);
        }
    }
    atomic_store(&agent->adopted, true);
}

/* ---- leases that nothing here needs ---- */

static void release(struct agent *agent, const struct vm *vm)
{
    struct error err = ERROR_NONE;
    if (vm_end_release(agent, vm, &err) < 0) {
        recoveries_note(agent->recoveries, RECOVERY_FAILED, vm->config.name,
                        "it was this host's, and does not run: %s", err.message);
    }
}

void adopt_datastore(struct agent *agent, struct agent_datastore *entry)
{
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count = 0;
    agent_refresh(agent);
    if (inventory_all(agent->inventory, &vms, &count, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(vms[i].datastore.uuid, entry->datastore.uuid) == 0) {
            release(agent, &vms[i]);
        }
    }
    atomic_store(&entry->settled, true);
}
