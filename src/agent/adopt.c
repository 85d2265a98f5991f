/* Finding VMs again: see adopt.h. */
#include "agent/adopt.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "agent/launch.h"
#include "agent/lifecycle.h"
#include "agent/migrate_destination.h"
#include "agent/migrate_source.h"
#include "agent/record.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/uuid.h"

/* Ended, or started halfway, while no agent was there. */
static void clean_up(struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    log_info("VM %s ended while no agent ran: cleaning up", vm->config.name);
    int result = launch_end(agent, vm, &err);
    if (result == 0) {
        result = lifecycle_disown(agent, vm, &err);
    }
    if (result < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
    }
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
    log_info("VM %s is found again, process %d", vm->config.name, (int)vm->runtime.process.pid);
}

static void adopt_move(struct agent *agent, struct vm *vm, const struct move_record *move)
{
    struct error err = ERROR_NONE;
    bool source = move->role == RECORD_SOURCE;
    vm->state = source ? VM_STATE_MIGRATING : VM_STATE_INCOMING;
    log_info("VM %s is found again, in the middle of move %s %s host %s", vm->config.name,
             move->move_id, source ? "to" : "from", move->peer);
    int result =
        source ? migrate_resume(agent, vm, move, &err) : incoming_resume(agent, vm, move, &err);
    if (result < 0) {
        log_error("VM %s: %s", vm->config.name, err.message);
    }
}

/* Whether another host owns it. False while the datastore does not tell. */
static bool is_foreign(const struct agent *agent, struct vm *vm)
{
    struct error err = ERROR_NONE;
    struct lease owner;
    if (lease_read(&vm->datastore, vm->config.name, &owner, &err) < 0) {
        log_warning("VM %s: %s", vm->config.name, err.message);
        snprintf(vm->owner.host, sizeof(vm->owner.host), "%s", agent->config->host);
        return false;
    }
    vm->owner = owner;
    return strcmp(owner.host, agent->config->host) != 0;
}

static void adopt_one(struct agent *agent, const char *uuid)
{
    struct error err = ERROR_NONE;
    struct move_record move;
    CLEANUP_FREE struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm || record_load(agent->config, uuid, vm, &err) < 0) {
        log_error("cannot adopt VM %s: %s", uuid, vm ? err.message : "no memory");
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
    } else if (foreign || !process_is_alive(&vm->runtime.process)) {
        clean_up(agent, vm); /* who does not own a VM may not run it */
    } else {
        adopt_running(agent, vm);
    }
}

/* After a crash of the whole host nothing runs, but its name still stands in the owner files. */
static void disown_dead(struct agent *agent)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count;
    if (agent_refresh(agent, &err) < 0 || inventory_all(agent->inventory, &vms, &count, &err) < 0) {
        log_error("%s", err.message);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (vms[i].state == VM_STATE_STOPPED &&
            strcmp(vms[i].owner.host, agent->config->host) == 0) {
            log_info("VM %s was owned by this host and does not run", vms[i].config.name);
            if (lifecycle_disown(agent, &vms[i], &err) < 0) {
                log_error("%s", err.message);
            }
        }
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
    disown_dead(agent);
}
