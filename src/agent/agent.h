/* What the parts of the agent share: one of it, made by main.c, lives as long as the process. */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "agent/datastores.h"
#include "agent/move/move_list.h"
#include "agent/move/sampling.h"
#include "agent/task.h"
#include "agent/vm/inventory.h"
#include "agent/vm/recoveries.h"
#include "agent/vm/restarts.h"
#include "agent/watch.h"
#include "http/trust.h"
#include "vmm/qemu/machine.h"

/* Memory of VMs that are being started. */
struct admission {
    pthread_mutex_t mutex;
    uint64_t bytes;
};

struct upkeep;

/* Set up once, then read only; what has a struct of its own locks itself. */
struct agent {
    const struct agent_config *config;
    char host_id[UUID_TEXT_SIZE]; /* host_id.h */
    enum qemu_accelerator accelerator;
    json_t *capabilities; /* vmm/qemu/capabilities.h; an empty object when the probe failed */
    struct agent_datastore datastores[CONFIG_DATASTORES_MOST];
    size_t datastore_count;
    struct inventory *inventory;
    struct task_list *tasks;
    struct move_list *moves;
    struct sampling_list *samplings;
    struct watch *watch;
    struct trust *trust;
    struct upkeep *upkeep;
    struct recoveries *recoveries;
    struct restarts *restarts;
    atomic_bool adopted; /* what an earlier agent left has been found */
    struct admission admission;
    char mover_program[PATH_MAX];
};

/* Bytes that another VM may take here: what the host has free, less what the VMs here were promised
 * and have not touched yet; within memory_limit_mib when that is set. */
int agent_memory(struct agent *agent, uint64_t *ret_total, uint64_t *ret_available,
                 struct error *err);

/* Memory that is promised to a VM that has no process yet. The mutex is held while it is given. */
int agent_admit(struct agent *agent, const struct vm_config *config, struct error *err);

/* The VM is in the inventory with its runtime, or will not be. */
void agent_admitted(struct agent *agent, const struct vm_config *config);

/* Looks at all datastores that answer, and brings the inventory up to date. */
void agent_refresh(struct agent *agent);

/* Finds a VM by name or UUID, with what its datastore says now. */
int agent_find_vm(struct agent *agent, const char *name, struct vm *ret_vm, struct error *err);
