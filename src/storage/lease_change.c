/* Changing how a datastore keeps its leases: see lease_change.h. */
#include "storage/lease_change.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "storage/heartbeat.h"
#include "storage/lease_kind.h"

/* ---- no host beats ---- */

static int refuse_living(const struct datastore *datastore, const char *host, struct error *err)
{
    bool sanlock = datastore->lease.kind == LEASE_SANLOCK;
    error_set(err, EBUSY, "host %s beats on datastore %s", host, datastore->name);
    return error_remedy(err,
                        "stop its VMs on the datastore, then its guard: systemctl stop "
                        "drover-guard%s",
                        sanlock ? ", and sanlock: sanlock client shutdown -f 1" : "");
}

/* How long it takes until all hosts are known to be still; 0: they are. */
static int look(const struct datastore *datastore, struct observer *observer, uint64_t *ret_left_ns,
                struct error *err)
{
    CLEANUP_FREE struct host_sighting *sightings = NULL;
    size_t count;
    int result = observer_look_all(observer, &sightings, &count, err);
    uint64_t left = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        uint64_t still = sightings[i].still_ns;
        if (sightings[i].health == HOST_ALIVE) {
            refuse_living(datastore, sightings[i].host, err);
            return -EBUSY;
        }
        if (sightings[i].health != HOST_DEAD && datastore->lease.takeover_ns - still > left) {
            left = datastore->lease.takeover_ns - still;
        }
    }
    *ret_left_ns = left;
    return result;
}

static int watch_hosts(const struct datastore *datastore, lease_change_watch *watch, void *context,
                       struct error *err)
{
    struct observer *observer;
    uint64_t left = 0;
    if (datastore->lease.kind == LEASE_LOCAL) {
        return 0;
    }
    int result = observer_open(datastore, NULL, &observer, err);
    if (result < 0) {
        return result;
    }
    while ((result = look(datastore, observer, &left, err)) == 0 && left > 0) {
        if (!watch(context, left)) {
            error_set(err, ECANCELED, "the lease settings of datastore %s stay", datastore->name);
            result = -ECANCELED;
            break;
        }
        clock_sleep_ns(datastore->lease.heartbeat_ns / 2);
    }
    observer_close(observer);
    return result;
}

/* ---- nobody owns a VM, and epochs go on ---- */

struct change {
    const struct datastore *datastore;
    const struct lease_settings *settings; /* NULL: only to see whether anybody owns a VM */
    struct error *err;
};

static int visit(void *context, const char *folder, const struct vm_config *config,
                 const struct error *reason)
{
    const struct change *change = context;
    const struct datastore *datastore = change->datastore;
    struct lease lease;
    (void)config;
    (void)reason;
    int result = lease_read(datastore, folder, &lease, change->err);
    if (result < 0) {
        return result;
    }
    if (lease.host[0]) {
        error_set(change->err, EBUSY, "VM %s of datastore %s is owned by host %s", folder,
                  datastore->name, lease.host);
        error_remedy(change->err, "stop it there; if that host is gone, take it over and stop it");
        return -EBUSY;
    }
    return change->settings
               ? lease_adopt(datastore, change->settings->kind, folder, lease.epoch, change->err)
               : 0;
}

static int visit_vms(const struct datastore *datastore, const struct lease_settings *settings,
                     struct error *err)
{
    struct change change = {datastore, settings, err};
    return datastore_each_vm(datastore, visit, &change, err);
}

int lease_change(const struct datastore *datastore, const struct lease_settings *settings,
                 lease_change_watch *watch, void *context, struct error *err)
{
    int result = visit_vms(datastore, NULL, err);
    if (result == 0) {
        result = watch_hosts(datastore, watch, context, err);
    }
    if (result == 0) {
        result = visit_vms(datastore, settings, err);
    }
    return result < 0 ? result : datastore_set_lease(datastore, settings, err);
}
