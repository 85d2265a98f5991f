/*
 * A machine as QEMU's arguments, and the descriptors that they name.
 *
 * The guest sees devices at fixed PCI addresses, so that both sides of a move, and a machine that
 * gains a disk, show the guest the same bus.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"
#include "base/process.h"
#include "vmm/qemu/machine.h"

#define QEMU_ARGUMENTS_MOST 256
#define QEMU_DISKS_MOST 16
#define QEMU_NICS_MOST 16
#define QEMU_FDS_MOST (QEMU_DISKS_MOST + QEMU_NICS_MOST + 4)

/* Descriptor 3 in QEMU is /dev/userfaultfd, where the kernel has one; then come the deadline,
 * disks, taps, kernel and initramfs. */
#define QEMU_FIRST_FD 3

struct qemu_command_line {
    char *arguments[QEMU_ARGUMENTS_MOST + 1]; /* owned; NULL-terminated */
    size_t argument_count;
    struct process_fd fds[QEMU_FDS_MOST]; /* parent descriptors borrowed from the machine */
    size_t fd_count;
    int deadline_fd; /* the deadline's number in QEMU; -1: none */
};

/* Builds the command line. `userfaultfd_device` is -1 where there is none. On failure (no memory, a
 * machine with more devices than fit) nothing is left to free. */
int qemu_command_line_build(const struct qemu_machine *machine, int userfaultfd_device,
                            struct qemu_command_line *ret_line, struct error *err);
void qemu_command_line_done(struct qemu_command_line *line);

#define CLEANUP_COMMAND_LINE __attribute__((cleanup(qemu_command_line_done)))
