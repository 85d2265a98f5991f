/*
 * A machine as QEMU is to run it: everything decided, every file already open.
 *
 * QEMU runs as an unprivileged user, in its own sandbox (seccomp) and opens no disk, tap or console
 * path by itself: the agent opens them and passes descriptors. The RAM file and the UNIX sockets
 * are in the VM's run folder, which belongs to that user.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/process.h"
#include "vmm/qemu/preload.h" /* QEMU_USERFAULTFD */

enum qemu_accelerator { QEMU_ACCELERATOR_TCG, QEMU_ACCELERATOR_KVM };

/* KVM when the CPU shows vmx or svm and /dev/kvm opens, TCG otherwise. */
enum qemu_accelerator qemu_accelerator_detect(void);
const char *qemu_accelerator_name(enum qemu_accelerator accelerator);

struct qemu_disk {
    const char *name;   /* node and device id: "disk0" */
    const char *format; /* "qcow2" or "raw" */
    int fd;             /* open for reading and writing; borrowed */
};

struct qemu_nic {
    const char *mac; /* "52:54:00:..." */
    int tap_fd;      /* borrowed */
};

struct qemu_machine {
    const char *name;
    const char *uuid;
    unsigned vcpus;
    uint64_t memory_bytes;
    const char *machine_type; /* pinned: "pc-q35-7.2" */
    const char *cpu_model;    /* named model, never "host" */
    enum qemu_accelerator accelerator;
    const struct qemu_disk *disks;
    size_t disk_count;
    const struct qemu_nic *nics;
    size_t nic_count;
    bool vga;             /* standard VGA and VNC on run_folder/vnc.sock */
    const char *ram_path; /* RAM file; made by qemu_start(), owned by uid, mode 0600 */
    const char
        *run_folder; /* owned by uid, mode 0700: qmp.sock, mover.qmp.sock, serial.sock, vnc.sock */
    const char *log_path;         /* QEMU's own standard error */
    int kernel_fd;                /* direct kernel boot; -1: boots from disk */
    int initrd_fd;                /* -1: none */
    const char *kernel_arguments; /* NULL: none */
    uid_t uid;
    gid_t gid;
    int deadline_fd; /* base/deadline.h: QEMU ends at its deadline; borrowed; -1: it has none */
    uint64_t deadline_lapses; /* as they were before the lease was taken: else it does not start */
    bool incoming;            /* a shadow: -incoming defer, stopped, waits for device state */

    /* Called as soon as the RAM file is there, with its descriptor, before QEMU runs; may be NULL.
     */
    void (*memory_made)(void *context, int memory_fd);
    void *memory_context;
};

/* Starts QEMU and waits until its monitor answers. On failure nothing is left (no process, no RAM
 * file). The guest runs when this returns, unless incoming. A QEMU that cannot be sure to end at
 * its deadline does not start. */
int qemu_start(const struct qemu_machine *machine, struct process_identity *ret_process,
               struct error *err);

/* Address at which a running QEMU maps its RAM file (from /proc/PID/maps). */
int qemu_memory_address(pid_t pid, const char *ram_path, uint64_t *ret_address, struct error *err);
