/*
 * A VM's definition: vm.json in its folder on a datastore. Versioned: a file from a newer version
 * is refused by name, never half understood.
 *
 *   {"drover_vm": 1, "name": "web1", "uuid": "...", "vcpus": 2, "memory_mib": 1024,
 *    "machine": "pc-q35-7.2", "cpu": "qemu64", "accelerator": "auto"|"kvm"|"tcg", "vga": true,
 *    "disks": [{"name": "disk0", "file": "disk0.qcow2", "format": "qcow2"}],
 *    "nics": [{"mac": "52:54:00:..", "port_group": "vm"}],
 *    "boot": {"kernel": "vmlinuz", "initrd": "initramfs.gz", "arguments": "console=ttyS0"},
 *    "devices": ["vfio:0000:01:00.0", ...]}
 *
 * File names are single components inside the VM's folder. "boot" and "devices" may be missing.
 * "devices" names host devices that are passed through: Drover starts no such VM yet and a check
 * names each as a thing that cannot move.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"

#define VM_CONFIG_VERSION 1
#define VM_CONFIG_FILE "vm.json"
#define VM_CONFIG_BYTES_MOST 65536
#define VM_NAME_SIZE 64
#define VM_DISKS_MOST 16
#define VM_NICS_MOST 8
#define VM_DEVICES_MOST 16
#define VM_VCPUS_MOST 64
#define VM_MEMORY_MIB_LEAST 64
#define VM_MEMORY_MIB_MOST 4194304 /* 4 TiB */

struct vm_disk {
    char name[VM_NAME_SIZE];
    char file[VM_NAME_SIZE];
    char format[8]; /* "qcow2" or "raw" */
};

struct vm_nic {
    char mac[18];
    char port_group[VM_NAME_SIZE];
};

struct vm_config {
    char name[VM_NAME_SIZE];
    char uuid[UUID_TEXT_SIZE];
    unsigned vcpus;
    uint64_t memory_mib;
    char machine[VM_NAME_SIZE];
    char cpu[VM_NAME_SIZE];
    char accelerator[8];
    bool vga;
    struct vm_disk disks[VM_DISKS_MOST];
    size_t disk_count;
    struct vm_nic nics[VM_NICS_MOST];
    size_t nic_count;
    char devices[VM_DEVICES_MOST][VM_NAME_SIZE];
    size_t device_count;
    char kernel[VM_NAME_SIZE]; /* empty: boots from disk */
    char initrd[VM_NAME_SIZE]; /* empty: none */
    char arguments[1024];      /* kernel command line */
};

/* Checks the whole document, then fills the configuration; `what` names it in errors. */
int vm_config_from_json(const json_t *document, const char *what, struct vm_config *ret_config,
                        struct error *err);

/* New reference. */
json_t *vm_config_to_json(const struct vm_config *config);

/* Fills what a user may leave out of a new VM: UUID, machine, CPU, MACs (52:54:00 + random: a
 * locally administered range), names. `document` is changed in place before vm_config_from_json().
 */
int vm_config_complete(json_t *document, struct error *err);
