/* What the parts of the agent share: see agent.h. */
#include "agent/agent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "agent/vm/record.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "storage/lease.h"
#include "storage/vm_folder.h"

/* ---- memory ---- */

static int host_memory(uint64_t *ret_total, uint64_t *ret_available, struct error *err)
{
    CLEANUP_FILE FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long total = 0;
    unsigned long long available = 0;
    while (file && fgets(line, sizeof(line), file)) {
        sscanf(line, "MemTotal: %llu", &total);
        sscanf(line, "MemAvailable: %llu", &available);
    }
    if (total == 0) {
        return error_set(err, EIO, "cannot read /proc/meminfo");
    }
    *ret_total = total * 1024;
    *ret_available = available * 1024;
    return 0;
}

/* Guests' memory is on a tmpfs, which the operator may have made smaller than the host's memory. */
static int limit_by_tmpfs(const struct agent *agent, uint64_t *total, uint64_t *available,
                          struct error *err)
{
    struct statvfs status;
    CLEANUP_FREE char *path = record_ram_path(agent->config, "");
    if (!path || statvfs(path, &status) < 0) {
        return error_set_errno(err, path ? errno : ENOMEM,
                               "cannot tell how much memory host %s has for guests",
                               agent->config->host);
    }
    uint64_t size = (uint64_t)status.f_blocks * status.f_frsize;
    uint64_t free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    *total = size < *total ? size : *total;
    *available = free_bytes < *available ? free_bytes : *available;
    return 0;
}

/* What a VM was promised and has not touched yet. */
static uint64_t untouched(const struct agent *agent, const struct vm *vm)
{
    struct stat status;
    uint64_t promised = vm->config.memory_mib << 20;
    CLEANUP_FREE char *path = record_ram_path(agent->config, vm->config.uuid);
    if (!path || stat(path, &status) < 0) {
        return promised;
    }
    uint64_t touched = (uint64_t)status.st_blocks * 512;
    return touched < promised ? promised - touched : 0;
}

static uint64_t less(uint64_t from, uint64_t taken)
{
    return from > taken ? from - taken : 0;
}

int agent_memory(struct agent *agent, uint64_t *ret_total, uint64_t *ret_available,
                 struct error *err)
{
    uint64_t total = 0;
    uint64_t available = 0;
    uint64_t promised = 0;
    uint64_t limit = agent->config->memory_limit_mib << 20;
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count = 0;
    int result = host_memory(&total, &available, err);
    if (result == 0) {
        result = limit_by_tmpfs(agent, &total, &available, err);
    }
    if (result == 0) {
        result = inventory_all(agent->inventory, &vms, &count, err);
    }
    if (result < 0) {
        return result;
    }
    for (size_t i = 0; i < count; i++) {
        if (vms[i].has_runtime) {
            promised += vms[i].config.memory_mib << 20;
            available = less(available, untouched(agent, &vms[i]));
        }
    }
    if (limit > 0 && limit < total) {
        total = limit;
        available = available < less(limit, promised) ? available : less(limit, promised);
    }
    *ret_total = total;
    *ret_available = available;
    return 0;
}

/* ---- admission ---- */

static int refuse_memory(const struct agent *agent, const struct vm_config *config,
                         uint64_t available, struct error *err)
{
    error_set(err, ENOMEM,
              "VM %s needs %" PRIu64 " MiB of memory, host %s has %" PRIu64 " MiB to give",
              config->name, config->memory_mib, agent->config->host, available >> 20);
    return error_remedy(err, "stop or move another VM, or give this one less memory");
}

int agent_admit(struct agent *agent, const struct vm_config *config, struct error *err)
{
    uint64_t total;
    uint64_t available = 0;
    uint64_t wanted = config->memory_mib << 20;
    pthread_mutex_lock(&agent->admission.mutex);
    int result = agent_memory(agent, &total, &available, err);
    available = less(available, agent->admission.bytes);
    if (result == 0 && wanted > available) {
        result = refuse_memory(agent, config, available, err);
    }
    if (result == 0) {
        agent->admission.bytes += wanted;
    }
    pthread_mutex_unlock(&agent->admission.mutex);
    return result;
}

void agent_admitted(struct agent *agent, const struct vm_config *config)
{
    pthread_mutex_lock(&agent->admission.mutex);
    agent->admission.bytes -= config->memory_mib << 20;
    pthread_mutex_unlock(&agent->admission.mutex);
}

/* ---- bringing the inventory up to date ---- */

struct look {
    struct agent *agent;
    const struct datastore *datastore;
    uint64_t begun;
};

static void observe(const struct look *look, const char *folder, const struct vm_config *config,
                    const struct error *reason)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE struct vm *seen = calloc(1, sizeof(*seen));
    if (!seen) {
        return;
    }
    seen->datastore = *look->datastore;
    if (config) {
        seen->config = *config;
    } else {
        err = *reason;
    }
    if (config && lease_read(look->datastore, folder, &seen->owner, &err) < 0) {
        config = NULL;
    }
    if (!config) {
        seen->unreadable = true;
        snprintf(seen->config.name, sizeof(seen->config.name), "%s", folder);
        snprintf(seen->problem, sizeof(seen->problem), "%s", err.message);
    }
    inventory_observe(look->agent->inventory, look->begun, seen);
}

static int visit(void *context, const char *folder, const struct vm_config *config,
                 const struct error *reason)
{
    observe(context, folder, config, reason);
    return 0;
}

/* A datastore that does not answer keeps what was known of it. */
static void refresh_datastore(struct agent *agent, const struct agent_datastore *entry)
{
    struct error err = ERROR_NONE;
    struct look look = {agent, &entry->datastore, inventory_observe_begin(agent->inventory)};
    if (datastores_check(agent, entry, NULL) < 0) {
        return;
    }
    if (datastore_each_vm(look.datastore, visit, &look, &err) < 0) {
        log_warning("%s", err.message);
        return;
    }
    inventory_observe_end(agent->inventory, look.begun, look.datastore->uuid);
}

void agent_refresh(struct agent *agent)
{
    for (size_t i = 0; i < agent->datastore_count; i++) {
        refresh_datastore(agent, &agent->datastores[i]);
    }
}

/* Looks at one folder on each datastore. */
static void refresh_one(struct agent *agent, const char *name)
{
    for (size_t i = 0; i < agent->datastore_count; i++) {
        const struct agent_datastore *entry = &agent->datastores[i];
        struct look look = {agent, &entry->datastore, inventory_observe_begin(agent->inventory)};
        struct error err = ERROR_NONE;
        CLEANUP_FREE struct vm_config *config = malloc(sizeof(*config));
        if (!config || datastores_check(agent, entry, NULL) < 0) {
            continue;
        }
        int result = vm_folder_load(&entry->datastore, name, config, &err);
        if (result != -ENOENT) {
            observe(&look, name, result == 0 ? config : NULL, &err);
            return;
        }
    }
}

/* Asks the datastore once more, for the reason with its remedy. */
static int tell_why_unreadable(const struct vm *vm, struct error *err)
{
    CLEANUP_FREE struct vm_config *ignored = malloc(sizeof(*ignored));
    if (!ignored || vm_folder_load(&vm->datastore, vm->config.name, ignored, err) == 0) {
        return error_set(err, EAGAIN, "VM %s: %s", vm->config.name, vm->problem);
    }
    return -err->code;
}

int agent_find_vm(struct agent *agent, const char *name, struct vm *ret_vm, struct error *err)
{
    if (file_name_is_safe(name)) {
        refresh_one(agent, name);
    }
    int result = inventory_find(agent->inventory, name, ret_vm, err);
    if (result == -ENOENT) {
        agent_refresh(agent);
        result = inventory_find(agent->inventory, name, ret_vm, err);
    }
    if (result == 0 && ret_vm->unreadable) {
        result = tell_why_unreadable(ret_vm, err);
    }
    return result;
}
