/*
 * Who may run a VM. The lease has an epoch, and the epoch an owner; taking the next epoch is one
 * exclusive act, of whose many attempts one succeeds. Whoever does not own a VM may not run it.
 *
 * A host takes the next epoch in its own name before it starts a VM, and in nobody's name when it
 * has stopped it. A switchover is committed by the source taking the next epoch in the
 * destination's name; a destination in doubt withdraws by taking it in the source's name. One of
 * the two succeeds, and decides. A VM of a dead host is taken over by taking the next epoch: when
 * that may be done, heartbeat.h tells.
 *
 * How the lease is kept is the datastore's setting (lease_settings.h); all kinds pass the same
 * tests (tests/unit/storage/test_lease*.c).
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "storage/datastore.h"

struct lease {
    uint64_t epoch;          /* 0: nobody ever owned it */
    char host[VM_NAME_SIZE]; /* empty: nobody */
};

/* The lease as it is now. -ESTALE: another datastore, or none, is under the datastore's path. */
int lease_read(const struct datastore *datastore, const char *vm, struct lease *ret_lease,
               struct error *err);

/* The same of a VM whose folder is open, wherever it was moved since. */
int lease_read_in(const struct datastore *datastore, const char *vm, int folder,
                  struct lease *ret_lease, struct error *err);

/* Takes epoch `after`+1 in `host`'s name ("" for nobody). -EEXIST when somebody was there first:
 * read again. -ESTALE as above. Durable on return. After any other failure the epoch may or may
 * not have been taken: read again. */
int lease_advance(const struct datastore *datastore, const char *vm, uint64_t after,
                  const char *host, struct error *err);
