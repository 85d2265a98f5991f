/*
 * What stands behind lease.h: one pair of functions a way of keeping leases. Names and the
 * datastore's identity are checked before they are called.
 */
#pragma once

#include "storage/lease.h"

/* A VM's folder, open, on the datastore that is meant. Borrowed. */
struct lease_place {
    const struct datastore *datastore;
    const char *vm;
    int folder;
};

/* Files named owner.N: kinds local and file. */
int lease_files_read(const struct lease_place *place, struct lease *ret_lease, struct error *err);
int lease_files_advance(const struct lease_place *place, uint64_t after, const char *host,
                        struct error *err);

/* Makes `epoch` the current one, in nobody's name, while no host uses this kind of lease there. */
int lease_files_adopt(const struct lease_place *place, uint64_t epoch, struct error *err);
int lease_sanlock_adopt(const struct lease_place *place, uint64_t epoch, struct error *err);
int lease_adopt(const struct datastore *datastore, enum lease_kind kind, const char *vm,
                uint64_t epoch, struct error *err);

/* Records under a sanlock resource: kind sanlock. */
int lease_sanlock_read(const struct lease_place *place, struct lease *ret_lease, struct error *err);
int lease_sanlock_advance(const struct lease_place *place, uint64_t after, const char *host,
                          struct error *err);

/* -EEXIST: somebody else took the epoch. */
int lease_lost(const char *vm, uint64_t epoch, struct error *err);

/* Whether `after` is the current epoch: 0; -EEXIST when it is past, -EINVAL when it is yet to come.
 */
int lease_check_after(const char *vm, uint64_t current, uint64_t after, struct error *err);
