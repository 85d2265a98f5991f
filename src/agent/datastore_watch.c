/* Looking after datastores: see datastore_watch.h. */
#include "agent/datastore_watch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/adopt.h"
#include "agent/guarding.h"
#include "agent/known_datastores.h"
#include "agent/vm/restarts.h"
#include "agent/vm/vm_end.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define LOOK_NS (250 * NANOSECONDS_PER_MILLISECOND)
#define REOPEN_NS NANOSECONDS_PER_SECOND
#define CHECK_VMS_NS (2 * NANOSECONDS_PER_SECOND)
#define FIRST_LOOK_NS (5 * NANOSECONDS_PER_SECOND)

/* What a thread works on. */
struct keeper {
    struct agent *agent;
    struct agent_datastore *entry;
    uint64_t vms_checked_at;
    bool instructed; /* drover-guard knows of it */
};

/* What follows may wait for the datastore. */
static void begin_looking(const struct keeper *keeper)
{
    atomic_store(&keeper->entry->looking_since_ns, clock_monotonic_ns());
}

/* The first of a row of equal problems is logged. */
static void set_problem(struct agent_datastore *entry, const char *problem)
{
    pthread_mutex_lock(&entry->mutex);
    bool is_news = strcmp(entry->problem, problem) != 0;
    snprintf(entry->problem, sizeof(entry->problem), "%s", problem);
    pthread_mutex_unlock(&entry->mutex);
    if (is_news && problem[0]) {
        log_error("datastore %s is not available: %s", entry->datastore.name, problem);
    } else if (is_news) {
        log_info("datastore %s is available", entry->datastore.name);
    }
}

/* ---- opening ---- */

/* Published as a whole: who sees `open` sees what was filled in before. */
static int open_datastore(const struct keeper *keeper, struct error *err)
{
    struct agent_datastore *entry = keeper->entry;
    struct datastore *datastore = &entry->datastore;
    struct datastore opened;
    int result = known_datastores_open(keeper->agent->config, datastore->name, datastore->path,
                                       &opened, err);
    if (result == 0) {
        result = datastore_clean(&opened, err);
    }
    if (result == 0 && opened.lease.kind != LEASE_LOCAL) {
        result = observer_open(&opened, NULL, &entry->observer, err);
    }
    if (result < 0) {
        return result;
    }
    strcpy(datastore->uuid, opened.uuid); /* name and path may be being read */
    datastore->lease = opened.lease;
    atomic_store(&entry->open, true);
    return 0;
}

/* ---- looking ---- */

static bool is_sighted(const struct host_sighting *sightings, size_t count, const char *host)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(sightings[i].host, host) == 0) {
            return true;
        }
    }
    return false;
}

/* An owner that has no beat: being asked for, the observer remembers it. */
static void ask_for_owners(const struct keeper *keeper, const struct host_sighting *sightings,
                           size_t count)
{
    CLEANUP_FREE struct vm *vms = NULL;
    size_t vm_count = 0;
    struct host_sighting ignored;
    if (inventory_all(keeper->agent->inventory, &vms, &vm_count, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i < vm_count; i++) {
        const char *host = vms[i].owner.host;
        if (host[0] && !is_sighted(sightings, count, host) &&
            strcmp(vms[i].datastore.uuid, keeper->entry->datastore.uuid) == 0) {
            observer_look(keeper->entry->observer, host, &ignored, NULL);
        }
    }
}

static int look_at_hosts(const struct keeper *keeper, struct error *err)
{
    struct agent_datastore *entry = keeper->entry;
    struct host_sighting *sightings = NULL;
    size_t count = 0;
    if (!entry->observer) {
        return 0;
    }
    int result = observer_look_all(entry->observer, &sightings, &count, err);
    if (result < 0) {
        return result;
    }
    ask_for_owners(keeper, sightings, count);
    pthread_mutex_lock(&entry->mutex);
    free(entry->sightings);
    entry->sightings = sightings;
    entry->sighting_count = count;
    pthread_mutex_unlock(&entry->mutex);
    return 0;
}

/* That it is there, is the one that was opened, and answers. */
static int look(const struct keeper *keeper, struct error *err)
{
    CLEANUP_CLOSE int root = datastore_open_root(&keeper->entry->datastore, err);
    return root < 0 ? root : look_at_hosts(keeper, err);
}

/* ---- the VMs of this host ---- */

static void check_vm(struct agent *agent, const struct vm *vm)
{
    struct error ignored = ERROR_NONE; /* it is tried again, and the VM shows its problem */
    if (vm->state == VM_STATE_RUNNING) {
        vm_end_noticed(agent, vm->config.uuid); /* in case that nothing watches its process */
        vm_end_if_foreign(agent, vm);
    } else if (vm->state == VM_STATE_FAILED) {
        vm_end_retry(agent, vm);
    } else {
        vm_end_release(agent, vm, &ignored);
    }
}

static void check_vms(const struct keeper *keeper)
{
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count = 0;
    if (inventory_all(keeper->agent->inventory, &vms, &count, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(vms[i].datastore.uuid, keeper->entry->datastore.uuid) == 0) {
            begin_looking(keeper);
            check_vm(keeper->agent, &vms[i]);
        }
    }
}

static void instruct_guard(struct keeper *keeper)
{
    struct error err = ERROR_NONE;
    keeper->instructed = guarding_instruct(keeper->agent, &err) == 0;
    if (!keeper->instructed) {
        log_error("drover-guard does not learn of datastore %s: %s", keeper->entry->datastore.name,
                  err.message);
    }
}

static void attend(struct keeper *keeper)
{
    uint64_t now = clock_monotonic_ns();
    if (!keeper->instructed) {
        instruct_guard(keeper);
    }
    if (!atomic_load(&keeper->agent->adopted)) {
        return;
    }
    begin_looking(keeper);
    if (!atomic_load(&keeper->entry->settled)) {
        adopt_datastore(keeper->agent, keeper->entry);
    }
    if (now - keeper->vms_checked_at > CHECK_VMS_NS) {
        keeper->vms_checked_at = now;
        check_vms(keeper);
    }
    begin_looking(keeper);
    restarts_try(keeper->agent, &keeper->entry->datastore);
}

/* ---- the thread ---- */

static void turn(struct keeper *keeper)
{
    struct agent_datastore *entry = keeper->entry;
    struct error err = ERROR_NONE;
    begin_looking(keeper);
    int result = atomic_load(&entry->open) ? 0 : open_datastore(keeper, &err);
    if (result == 0) {
        result = look(keeper, &err);
    }
    set_problem(entry, result < 0 ? err.message : "");
    if (result == 0) {
        attend(keeper);
    }
    atomic_store(&entry->looking_since_ns, 0);
    atomic_fetch_add(&entry->looks, 1);
}

static void *keep(void *context)
{
    struct keeper *keeper = context;
    for (;;) {
        turn(keeper);
        clock_sleep_ns(atomic_load(&keeper->entry->open) ? LOOK_NS : REOPEN_NS);
    }
    return NULL;
}

static int start_thread(struct agent *agent, struct agent_datastore *entry, struct error *err)
{
    pthread_t thread;
    CLEANUP_FREE struct keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper) {
        return error_set_errno(err, ENOMEM, "cannot look after datastore %s",
                               entry->datastore.name);
    }
    *keeper = (struct keeper){.agent = agent, .entry = entry};
    int result = pthread_create(&thread, NULL, keep, keeper);
    if (result != 0) {
        return error_set_errno(err, result, "cannot look after datastore %s",
                               entry->datastore.name);
    }
    pthread_detach(thread);
    steal_pointer(&keeper);
    return 0;
}

static bool all_have_looked(struct agent *agent)
{
    for (size_t i = 0; i < agent->datastore_count; i++) {
        if (atomic_load(&agent->datastores[i].looks) == 0) {
            return false;
        }
    }
    return true;
}

int datastore_watch_start(struct agent *agent, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + FIRST_LOOK_NS;
    for (size_t i = 0; i < agent->datastore_count; i++) {
        int result = start_thread(agent, &agent->datastores[i], err);
        if (result < 0) {
            return result;
        }
    }
    while (!all_have_looked(agent) && clock_monotonic_ns() < deadline) {
        clock_sleep_ns(10 * NANOSECONDS_PER_MILLISECOND);
    }
    return 0;
}
