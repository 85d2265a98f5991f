/*
 * Datastores: folders, local or shared, that hold VM folders. A datastore is known by the UUID in
 * its drover-datastore.json, not by where a host mounts it: that is how two hosts know that they
 * see the same one.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"
#include "storage/lease_settings.h"
#include "storage/vm_config.h"

struct datastore {
    char name[VM_NAME_SIZE];
    char uuid[UUID_TEXT_SIZE];
    char path[256];
    struct lease_settings lease;
};

/* Opens the datastore at an absolute path; a folder that is none yet becomes one (its marker is
 * created exclusively, so that two hosts agree). */
int datastore_open(const char *name, const char *path, struct datastore *ret_datastore,
                   struct error *err);

/* As datastore_open(), but makes none: -ESTALE when the folder is no datastore. */
int datastore_open_existing(const char *name, const char *path, struct datastore *ret_datastore,
                            struct error *err);

/* As datastore_open(), of one that has this UUID; makes none. -ESTALE when another one, or none, is
 * mounted there. */
int datastore_open_known(const char *name, const char *path, const char *uuid,
                         struct datastore *ret_datastore, struct error *err);

/* Opens the datastore's folder, by its path, and makes sure that it is the one that was opened:
 * same UUID, same lease settings. Returns a descriptor; -ESTALE when another one, or none, is
 * mounted there now. */
int datastore_open_root(const struct datastore *datastore, struct error *err);

/* Writes other lease settings into the datastore's marker; `datastore` itself is stale then. Only
 * for lease_change(). */
int datastore_set_lease(const struct datastore *datastore, const struct lease_settings *settings,
                        struct error *err);

/* Bytes in all and free. */
int datastore_space(const struct datastore *datastore, uint64_t *ret_total, uint64_t *ret_free,
                    struct error *err);

/* Calls `visit` for each folder that holds a vm.json; a folder whose file is bad is visited with
 * config NULL and the reason. A negative result of visit ends the walk and is returned. */
typedef int datastore_visit_function(void *context, const char *folder,
                                     const struct vm_config *config, const struct error *reason);
int datastore_each_vm(const struct datastore *datastore, datastore_visit_function *visit,
                      void *context, struct error *err);

/* Removes what processes of this host left unfinished when they crashed: folders half made or half
 * removed, temporary files. Called when an agent starts; what is still in work, and what other
 * hosts left, stays. */
int datastore_clean(const struct datastore *datastore, struct error *err);
