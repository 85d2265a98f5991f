/*
 * The VMs that this host knows: those it runs, and those it sees on its datastores.
 *
 * One mutex, a leaf: nothing is locked, and nothing that blocks is called, while it is held. All
 * results are copies. A VM's state is changed by whoever claimed it (vm_state.h), else only by what
 * is observed on the datastores.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/vm/vm_state.h"
#include "base/error.h"
#include "base/process.h"
#include "net/tap.h"
#include "storage/datastore.h"
#include "storage/lease.h"
#include "storage/vm_config.h"

#define INVENTORY_SLOTS 8192

/* What is true of a VM while it has a process here. */
struct vm_runtime {
    struct process_identity process; /* pid 0: being started */
    unsigned slot;                   /* decides its user: uid_base + slot */
    uid_t uid;
    char accelerator[8];
    char engine[8];                         /* "drover" or "native": how it can move */
    bool shadow;                            /* waits for a move to end here: it may not run yet */
    uint64_t started_at;                    /* CLOCK_REALTIME */
    char taps[VM_NICS_MOST][TAP_NAME_SIZE]; /* in the order of its NICs */
};

struct vm {
    struct vm_config config;
    struct datastore datastore;
    enum vm_state state;
    struct lease owner;        /* as last read or written */
    char task[UUID_TEXT_SIZE]; /* who claimed it; empty: nobody */
    bool has_runtime;
    struct vm_runtime runtime;
    bool unreadable;   /* its vm.json is bad: only config.name and problem mean something */
    char problem[768]; /* empty: none */
};

struct inventory;

/* `host`: this host's name, borrowed. */
struct inventory *inventory_new(const char *host);
void inventory_free(struct inventory *inventory);

/* By name or UUID. -ENOENT. */
int inventory_find(struct inventory *inventory, const char *name, struct vm *ret_vm,
                   struct error *err);

/* All, in the order of names; freed with free(). */
int inventory_all(struct inventory *inventory, struct vm **ret_vms, size_t *ret_count,
                  struct error *err);

/* Puts a VM in as it is (found again after a restart). -EEXIST when the name is taken. */
int inventory_add(struct inventory *inventory, const struct vm *vm, struct error *err);

/* For its one task: moves the VM to a claimed state and copies it. -EBUSY, saying what it does,
 * when it is not in a state from which that may be. */
int inventory_claim(struct inventory *inventory, const char *uuid, enum vm_state claimed,
                    const char *task, struct vm *ret_vm, struct error *err);

/* Ends a claim: state, runtime, owner and problem as in `vm`, which the claimer has kept. */
void inventory_release(struct inventory *inventory, const struct vm *vm, enum vm_state state);

/* While claimed: shows a runtime before the claim ends. */
void inventory_set_runtime(struct inventory *inventory, const struct vm *vm);

/* While claimed: shows what its task waits for; NULL: nothing any more. */
void inventory_set_waiting(struct inventory *inventory, const char *uuid, const char *what);

/* Forgets a stopped VM (its folder is gone). */
void inventory_remove(struct inventory *inventory, const char *uuid);

/* What a look at the datastores found. Changes since inventory_observe_begin() win over what was
 * seen: the look may be older. */
uint64_t inventory_observe_begin(struct inventory *inventory);
void inventory_observe(struct inventory *inventory, uint64_t begun, const struct vm *seen);

/* Forgets VMs of that datastore that were not seen since `begun`. */
void inventory_observe_end(struct inventory *inventory, uint64_t begun, const char *datastore_uuid);

/* The lowest free slot; -ENOSPC. Taken until inventory_free_slot(). */
int inventory_take_slot(struct inventory *inventory, struct error *err);
void inventory_use_slot(struct inventory *inventory, unsigned slot);
void inventory_free_slot(struct inventory *inventory, unsigned slot);
