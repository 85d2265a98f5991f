/* Leases of every kind: see lease.h. */
#include "storage/lease.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "storage/lease_kind.h"

#define EPOCH_MOST 999999999999999999ULL

struct lease_functions {
    int (*read)(const struct lease_place *place, struct lease *ret_lease, struct error *err);
    int (*advance)(const struct lease_place *place, uint64_t after, const char *host,
                   struct error *err);
    int (*adopt)(const struct lease_place *place, uint64_t epoch, struct error *err);
};

static const struct lease_functions kinds[] = {
    [LEASE_LOCAL] = {lease_files_read, lease_files_advance, lease_files_adopt},
    [LEASE_FILE] = {lease_files_read, lease_files_advance, lease_files_adopt},
    [LEASE_SANLOCK] = {lease_sanlock_read, lease_sanlock_advance, lease_sanlock_adopt},
};

int lease_lost(const char *vm, uint64_t epoch, struct error *err)
{
    return error_set(err, EEXIST, "epoch %" PRIu64 " of %s was taken by somebody else", epoch, vm);
}

int lease_check_after(const char *vm, uint64_t current, uint64_t after, struct error *err)
{
    if (current > after) {
        return lease_lost(vm, after + 1, err);
    }
    if (current < after) {
        return error_set(err, EINVAL,
                         "epoch %" PRIu64 " of %s was never taken: the last is %" PRIu64, after, vm,
                         current);
    }
    return 0;
}

/* The VM's folder, on the datastore that is meant and no other. */
static int open_folder(const struct datastore *datastore, const char *vm, struct error *err)
{
    if (!file_name_is_safe(vm)) {
        return error_set(err, EINVAL, "\"%.80s\" is not a VM's name", vm);
    }
    CLEANUP_CLOSE int root = datastore_open_root(datastore, err);
    return root < 0
               ? root
               : file_open_beneath_at(root, datastore->path, vm, O_RDONLY | O_DIRECTORY, 0, err);
}

int lease_read(const struct datastore *datastore, const char *vm, struct lease *ret_lease,
               struct error *err)
{
    CLEANUP_CLOSE int folder = open_folder(datastore, vm, err);
    return folder < 0 ? folder : lease_read_in(datastore, vm, folder, ret_lease, err);
}

int lease_read_in(const struct datastore *datastore, const char *vm, int folder,
                  struct lease *ret_lease, struct error *err)
{
    struct lease_place place = {datastore, vm, folder};
    return kinds[datastore->lease.kind].read(&place, ret_lease, err);
}

int lease_advance(const struct datastore *datastore, const char *vm, uint64_t after,
                  const char *host, struct error *err)
{
    if ((*host && !file_name_is_safe(host)) || after >= EPOCH_MOST) {
        return error_set(err, EINVAL, "\"%.80s\" cannot own epoch %" PRIu64 " of %s", host,
                         after + 1, vm);
    }
    CLEANUP_CLOSE int folder = open_folder(datastore, vm, err);
    struct lease_place place = {datastore, vm, folder};
    return folder < 0 ? folder : kinds[datastore->lease.kind].advance(&place, after, host, err);
}

int lease_adopt(const struct datastore *datastore, enum lease_kind kind, const char *vm,
                uint64_t epoch, struct error *err)
{
    CLEANUP_CLOSE int folder = open_folder(datastore, vm, err);
    struct lease_place place = {datastore, vm, folder};
    return folder < 0 ? folder : kinds[kind].adopt(&place, epoch, err);
}
