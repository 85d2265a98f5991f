/*
 * A VM's folder on a datastore: NAME/vm.json, its disks, its boot files, its owner files. Every
 * path is opened beneath the datastore's folder: no "..", no absolute path, no link leads out of
 * it.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "storage/datastore.h"
#include "storage/vm_config.h"

/* Makes the folder, creates or copies what is asked for, writes vm.json last. All or nothing: after
 * a failure nothing is left. -EEXIST when the name is taken. */
struct vm_folder_disk_source {
    uint64_t size_bytes; /* for a new empty disk */
    const char
        *import_path; /* or: an image on this host that is copied (qemu-img convert); NULL: new */
};
struct vm_folder_sources {
    struct vm_folder_disk_source disks[VM_DISKS_MOST]; /* parallel to config->disks */
    const char *kernel_path; /* file on this host to copy to config->kernel; NULL: none */
    const char *initrd_path;
};
int vm_folder_create(const struct datastore *datastore, const struct vm_config *config,
                     const struct vm_folder_sources *sources, struct error *err);

/* Reads and checks NAME/vm.json; refuses a folder whose name differs from the configuration's. */
int vm_folder_load(const struct datastore *datastore, const char *name,
                   struct vm_config *ret_config, struct error *err);

/* Removes the folder with all in it, which the caller owns in this epoch. -EBUSY, and it stays,
 * when somebody has taken the VM since. */
int vm_folder_remove(const struct datastore *datastore, const char *name, uint64_t epoch,
                     struct error *err);

/* Opens a file of the folder (a disk O_RDWR, a kernel O_RDONLY); refuses what is not a regular file
 * or block device, and a qcow2 image that names a backing or external data file. Returns a
 * descriptor. */
int vm_folder_open_file(const struct datastore *datastore, const char *name, const char *file,
                        const char *format, int flags, struct error *err);
