/*
 * Changing how a datastore keeps its leases. Hosts that disagree about that could run a VM twice,
 * so the datastore must be at rest: no VM of it is owned by anybody, and no host beats there (the
 * operator has stopped drover-guard on all of them). Hosts find the new settings when droverd and
 * drover-guard are started anew; one that still has the old ones can neither renew nor take an
 * epoch (-ESTALE).
 */
#pragma once

#include <stdbool.h>

#include "storage/datastore.h"

/* Called every now and then while hosts are watched; false gives up with -ECANCELED. */
typedef bool lease_change_watch(void *context, uint64_t left_ns);

/* Gives the datastore new settings, once every host that ever beat there was seen to stand still
 * for the take-over time. The epochs of its VMs go on. -EBUSY, naming the host or the VM, when it
 * is not at rest; nothing has changed then, nor after any other failure. */
int lease_change(const struct datastore *datastore, const struct lease_settings *settings,
                 lease_change_watch *watch, void *context, struct error *err);
