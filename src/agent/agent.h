/* What the parts of the agent share: one of it, made by main.c, lives as long as the process. */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "agent/inventory.h"
#include "agent/move_list.h"
#include "agent/sampling.h"
#include "agent/task.h"
#include "agent/trust.h"
#include "agent/watch.h"
#include "vmm/qemu/machine.h"

/* A configured datastore, open or not. */
struct agent_datastore {
    bool open;
    struct datastore datastore; /* name and path always; uuid when open */
    char problem[768];          /* why it is not open */
};

struct upkeep;

/* Set up once, then read only; inventory, tasks, moves, samplings, watch, trust and upkeep lock
 * themselves. */
struct agent {
    const struct agent_config *config;
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
    char mover_program[PATH_MAX];
};

/* Bytes that another VM may take here: what the host has free, less what the VMs here were promised
 * and have not touched yet; within memory_limit_mib when that is set. */
int agent_memory(struct agent *agent, uint64_t *ret_total, uint64_t *ret_available,
                 struct error *err);

/* An open datastore by name, by UUID; the first one for a NULL name. NULL with err filled. */
const struct datastore *agent_datastore(const struct agent *agent, const char *name,
                                        struct error *err);
const struct datastore *agent_datastore_by_uuid(const struct agent *agent, const char *uuid);

/* Looks at all datastores, and brings the inventory up to date. */
int agent_refresh(struct agent *agent, struct error *err);

/* Finds a VM by name or UUID, with what its datastore says now. */
int agent_find_vm(struct agent *agent, const char *name, struct vm *ret_vm, struct error *err);
