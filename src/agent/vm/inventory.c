/* The inventory: see inventory.h. */
#include "agent/vm/inventory.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *next; /* in the order of names */
    struct vm vm;
    uint64_t changed_at; /* inventory->now when it last changed here */
    uint64_t seen_at;    /* when it was last seen on its datastore */
};

struct inventory {
    pthread_mutex_t mutex;
    const char *host;
    struct entry *first;
    uint64_t now; /* counts changes and looks */
    bool slots[INVENTORY_SLOTS];
};

struct inventory *inventory_new(const char *host)
{
    struct inventory *inventory = calloc(1, sizeof(*inventory));
    if (inventory) {
        inventory->host = host;
        pthread_mutex_init(&inventory->mutex, NULL);
    }
    return inventory;
}

void inventory_free(struct inventory *inventory)
{
    if (!inventory) {
        return;
    }
    while (inventory->first) {
        struct entry *entry = inventory->first;
        inventory->first = entry->next;
        free(entry);
    }
    pthread_mutex_destroy(&inventory->mutex);
    free(inventory);
}

/* ---- with the mutex held ---- */

static struct entry *find_uuid(const struct inventory *inventory, const char *uuid)
{
    struct entry *entry = inventory->first;
    while (entry && (entry->vm.unreadable || strcmp(entry->vm.config.uuid, uuid) != 0)) {
        entry = entry->next;
    }
    return entry;
}

static struct entry *find_name(const struct inventory *inventory, const char *name)
{
    struct entry *entry = inventory->first;
    while (entry && strcmp(entry->vm.config.name, name) != 0) {
        entry = entry->next;
    }
    return entry;
}

static void mark_changed(struct inventory *inventory, struct entry *entry)
{
    entry->changed_at = ++inventory->now;
}

static struct entry *insert(struct inventory *inventory, const struct vm *vm)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    if (!entry) {
        return NULL;
    }
    struct entry **link = &inventory->first;
    while (*link && strcmp((*link)->vm.config.name, vm->config.name) < 0) {
        link = &(*link)->next;
    }
    entry->vm = *vm;
    entry->next = *link;
    *link = entry;
    mark_changed(inventory, entry);
    return entry;
}

static void remove_entry(struct inventory *inventory, struct entry *entry)
{
    struct entry **link = &inventory->first;
    while (*link != entry) {
        link = &(*link)->next;
    }
    *link = entry->next;
    free(entry);
}

/* ---- looking ---- */

int inventory_find(struct inventory *inventory, const char *name, struct vm *ret_vm,
                   struct error *err)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_name(inventory, name);
    if (!entry) {
        entry = find_uuid(inventory, name);
    }
    if (entry) {
        *ret_vm = entry->vm;
    }
    pthread_mutex_unlock(&inventory->mutex);
    if (!entry) {
        error_set(err, ENOENT, "host %s knows no VM %s", inventory->host, name);
        return error_remedy(err, "\"drover vm list\" shows the VMs that it knows");
    }
    return 0;
}

int inventory_all(struct inventory *inventory, struct vm **ret_vms, size_t *ret_count,
                  struct error *err)
{
    size_t count = 0;
    pthread_mutex_lock(&inventory->mutex);
    for (struct entry *entry = inventory->first; entry; entry = entry->next) {
        count++;
    }
    struct vm *vms = calloc(count + 1, sizeof(*vms));
    if (vms) {
        size_t i = 0;
        for (struct entry *entry = inventory->first; entry; entry = entry->next) {
            vms[i++] = entry->vm;
        }
    }
    pthread_mutex_unlock(&inventory->mutex);
    if (!vms) {
        return error_set_errno(err, ENOMEM, "cannot list the VMs");
    }
    *ret_vms = vms;
    *ret_count = count;
    return 0;
}

/* ---- claims ---- */

int inventory_add(struct inventory *inventory, const struct vm *vm, struct error *err)
{
    int result = 0;
    pthread_mutex_lock(&inventory->mutex);
    if (find_name(inventory, vm->config.name) || find_uuid(inventory, vm->config.uuid)) {
        result =
            error_set(err, EEXIST, "host %s already has a VM %s", inventory->host, vm->config.name);
    } else if (!insert(inventory, vm)) {
        result = error_set_errno(err, ENOMEM, "cannot keep VM %s", vm->config.name);
    }
    pthread_mutex_unlock(&inventory->mutex);
    return result;
}

static int refuse_claim(const struct inventory *inventory, const struct vm *vm, struct error *err)
{
    if (vm->problem[0] && vm->state == VM_STATE_FAILED) {
        error_set(err, EBUSY, "VM %s has failed: %s", vm->config.name, vm->problem);
        return error_remedy(err, "put that right first; \"drover vm stop --force %s\" ends it here",
                            vm->config.name);
    }
    if (vm->state == VM_STATE_ELSEWHERE) {
        error_set(err, EBUSY, "VM %s belongs to host %s, not to %s", vm->config.name,
                  vm->owner.host, inventory->host);
        return error_remedy(err, "ask host %s for it", vm->owner.host);
    }
    error_set(err, EBUSY, "VM %s is %s", vm->config.name, vm_state_name(vm->state));
    if (vm->state == VM_STATE_STOPPED) {
        return error_remedy(err, "start it: drover vm start %s", vm->config.name);
    }
    return vm->task[0] ? error_remedy(err, "wait for task %s, or cancel it", vm->task)
                       : error_remedy(err, "try again when that has ended");
}

int inventory_claim(struct inventory *inventory, const char *uuid, enum vm_state claimed,
                    const char *task, struct vm *ret_vm, struct error *err)
{
    int result = 0;
    assert(vm_state_is_claimed(claimed));
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_uuid(inventory, uuid);
    if (!entry) {
        result = error_set(err, ENOENT, "host %s knows no VM %s", inventory->host, uuid);
    } else if (!vm_state_may_become(entry->vm.state, claimed)) {
        result = refuse_claim(inventory, &entry->vm, err);
    } else {
        vm_state_change(&entry->vm.state, claimed);
        snprintf(entry->vm.task, sizeof(entry->vm.task), "%s", task);
        mark_changed(inventory, entry);
        *ret_vm = entry->vm;
    }
    pthread_mutex_unlock(&inventory->mutex);
    return result;
}

void inventory_release(struct inventory *inventory, const struct vm *vm, enum vm_state state)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_uuid(inventory, vm->config.uuid);
    assert(entry && vm_state_is_claimed(entry->vm.state));
    vm_state_change(&entry->vm.state, state);
    entry->vm.task[0] = '\0';
    entry->vm.owner = vm->owner;
    entry->vm.has_runtime = vm->has_runtime;
    entry->vm.runtime = vm->runtime;
    memcpy(entry->vm.problem, vm->problem, sizeof(entry->vm.problem));
    mark_changed(inventory, entry);
    pthread_mutex_unlock(&inventory->mutex);
}

void inventory_set_runtime(struct inventory *inventory, const struct vm *vm)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_uuid(inventory, vm->config.uuid);
    assert(entry && vm_state_is_claimed(entry->vm.state));
    entry->vm.owner = vm->owner;
    entry->vm.has_runtime = vm->has_runtime;
    entry->vm.runtime = vm->runtime;
    mark_changed(inventory, entry);
    pthread_mutex_unlock(&inventory->mutex);
}

void inventory_set_waiting(struct inventory *inventory, const char *uuid, const char *what)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_uuid(inventory, uuid);
    if (entry && vm_state_is_claimed(entry->vm.state)) {
        snprintf(entry->vm.problem, sizeof(entry->vm.problem), "%s", what ? what : "");
    }
    pthread_mutex_unlock(&inventory->mutex);
}

void inventory_remove(struct inventory *inventory, const char *uuid)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_uuid(inventory, uuid);
    if (entry) {
        remove_entry(inventory, entry);
    }
    pthread_mutex_unlock(&inventory->mutex);
}

/* ---- what the datastores say ---- */

uint64_t inventory_observe_begin(struct inventory *inventory)
{
    pthread_mutex_lock(&inventory->mutex);
    uint64_t begun = ++inventory->now;
    pthread_mutex_unlock(&inventory->mutex);
    return begun;
}

static enum vm_state observed_state(const struct inventory *inventory, const struct vm *seen)
{
    if (seen->unreadable) {
        return VM_STATE_FAILED;
    }
    bool ours = seen->owner.host[0] == '\0' || strcmp(seen->owner.host, inventory->host) == 0;
    return ours ? VM_STATE_STOPPED : VM_STATE_ELSEWHERE;
}

/* Takes over what was seen, unless the VM is in someone's hands or has a process here. */
static void update(struct inventory *inventory, struct entry *entry, const struct vm *seen)
{
    struct vm *vm = &entry->vm;
    enum vm_state state = observed_state(inventory, seen);
    if (vm_state_is_claimed(vm->state) || vm->has_runtime) {
        return;
    }
    vm->config = seen->config;
    vm->datastore = seen->datastore;
    vm->owner = seen->owner;
    vm->unreadable = seen->unreadable;
    memcpy(vm->problem, seen->problem, sizeof(vm->problem));
    if (vm->state != state) {
        vm_state_change(&vm->state, state);
    }
    mark_changed(inventory, entry);
}

void inventory_observe(struct inventory *inventory, uint64_t begun, const struct vm *seen)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *entry = find_name(inventory, seen->config.name);
    if (!entry && !(!seen->unreadable && find_uuid(inventory, seen->config.uuid))) {
        entry = insert(inventory, seen);
        if (entry) {
            entry->vm.state = observed_state(inventory, seen);
        }
    } else if (entry && entry->changed_at <= begun) {
        update(inventory, entry, seen);
    }
    if (entry) {
        entry->seen_at = ++inventory->now;
    }
    pthread_mutex_unlock(&inventory->mutex);
}

void inventory_observe_end(struct inventory *inventory, uint64_t begun, const char *datastore_uuid)
{
    pthread_mutex_lock(&inventory->mutex);
    struct entry *next;
    for (struct entry *entry = inventory->first; entry; entry = next) {
        struct vm *vm = &entry->vm;
        next = entry->next;
        bool idle = !vm_state_is_claimed(vm->state) && !vm->has_runtime;
        if (idle && entry->seen_at < begun && entry->changed_at <= begun &&
            strcmp(vm->datastore.uuid, datastore_uuid) == 0) {
            remove_entry(inventory, entry);
        }
    }
    pthread_mutex_unlock(&inventory->mutex);
}

/* ---- slots ---- */

int inventory_take_slot(struct inventory *inventory, struct error *err)
{
    int slot = 0;
    pthread_mutex_lock(&inventory->mutex);
    while (slot < INVENTORY_SLOTS && inventory->slots[slot]) {
        slot++;
    }
    if (slot < INVENTORY_SLOTS) {
        inventory->slots[slot] = true;
    }
    pthread_mutex_unlock(&inventory->mutex);
    return slot < INVENTORY_SLOTS ? slot
                                  : error_set(err, ENOSPC, "host %s runs %d VMs already",
                                              inventory->host, INVENTORY_SLOTS);
}

static void set_slot(struct inventory *inventory, unsigned slot, bool used)
{
    assert(slot < INVENTORY_SLOTS);
    pthread_mutex_lock(&inventory->mutex);
    inventory->slots[slot] = used;
    pthread_mutex_unlock(&inventory->mutex);
}

void inventory_use_slot(struct inventory *inventory, unsigned slot)
{
    set_slot(inventory, slot, true);
}

void inventory_free_slot(struct inventory *inventory, unsigned slot)
{
    set_slot(inventory, slot, false);
}
