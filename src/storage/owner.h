/*
 * Who owns a VM. The owner of epoch N is named in the file owner.N of the VM's folder; creating
 * that file exclusively (link(2) of a finished temporary file: atomic, on NFS too) is the act of
 * taking the epoch, and the highest epoch counts. Whoever does not own a VM may not run it.
 *
 * A host that stops a VM names nobody as the next owner. A switchover is committed by the source
 * creating the next epoch in the destination's name; a destination in doubt withdraws by creating
 * it in the source's name. One of the two creations succeeds, and decides.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "storage/datastore.h"

struct owner {
    uint64_t epoch;          /* 0: nobody ever owned it */
    char host[VM_NAME_SIZE]; /* empty: nobody */
};

/* The current owner. */
int owner_read(const struct datastore *datastore, const char *vm, struct owner *ret_owner,
               struct error *err);

/* Creates epoch `after`+1 in `host`'s name ("" for nobody). -EEXIST when somebody was there first:
 * read again. Durable on return (fsync). Removes epochs older than `after`. */
int owner_advance(const struct datastore *datastore, const char *vm, uint64_t after,
                  const char *host, struct error *err);
