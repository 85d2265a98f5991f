/*
 * Loaded into QEMU before it starts (LD_PRELOAD): makes the userfaultfd through which Drover tracks
 * the guest's writes. It must be made by the process whose memory it watches; nothing else of
 * Drover's runs inside QEMU.
 *
 * QEMU is unprivileged and may not call userfaultfd(2) for faults that the kernel takes, so it
 * inherits /dev/userfaultfd, open, and makes its own from that. Without one QEMU runs on, and moves
 * by its own means. Depends on libc alone.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/kernel.h"
#include "vmm/qemu/preload.h"

static void complain(const char *what)
{
    perror(what);
    fputs("drover: this machine's memory cannot be tracked; it moves by QEMU's own means\n",
          stderr);
}

static void make_userfaultfd(int device)
{
    int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        complain("drover: cannot make a userfaultfd");
        return;
    }
    if (dup3(fd, QEMU_USERFAULTFD, O_CLOEXEC) < 0) {
        complain("drover: cannot place the userfaultfd");
    }
    close(fd);
}

__attribute__((constructor)) static void prepare_tracking(void)
{
    const char *number = getenv(PRELOAD_DEVICE_VARIABLE);
    if (number) {
        int device = atoi(number); /* written by qemu_start(), never by a user */
        make_userfaultfd(device);
        close(device);
    }
    unsetenv(PRELOAD_DEVICE_VARIABLE);
    unsetenv("LD_PRELOAD");
}
