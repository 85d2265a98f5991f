/*
 * A sanlock resource held for a moment: a Paxos lease on the storage itself, that one process of
 * all hosts holds at a time (Gafni and Lamport, "Disk Paxos"; sanlock's src/paxos_lease.c). Each
 * time it is taken its version grows. The program must ignore SIGPIPE: libsanlock does not expect
 * its daemon to die.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <sanlock.h> /* wants stdint.h before it */

#include "storage/datastore.h"

struct paxos {
    struct {
        struct sanlk_resource resource;
        struct sanlk_disk disk; /* sanlock finds it behind the resource */
    } area;
    int fd;           /* our connection to the daemon, while held; else -1 */
    uint64_t version; /* while held */
};

_Static_assert(offsetof(struct paxos, area.disk) == offsetof(struct paxos, area.resource.disks),
               "sanlock finds the disk");

/* Makes a resource of the datastore's lockspace, under a new name, of the file at `path`: its first
 * LOCKSPACE_AREA_SIZE bytes. */
int paxos_prepare(const struct datastore *datastore, const char *path, struct error *err);

/* Takes the resource in the file at `path`; waits a while for others who hold it. -EAGAIN: they do
 * not let go of it. */
int paxos_take(const char *path, struct paxos *ret_paxos, struct error *err);

/* Whether nobody has taken it since we did, as the storage says: 0, or -EEXIST. A host that was
 * frozen for so long that others took it finds out here. */
int paxos_check(const struct paxos *paxos, const char *path, struct error *err);

/* Lets go, or does nothing. So does the end of the process. */
void paxos_done(struct paxos *paxos);
