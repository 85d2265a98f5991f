/*
 * The preload library's pattern: inside QEMU, before main, turn the inherited /dev/userfaultfd into
 * a userfaultfd of QEMU's own memory, under the same descriptor number.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/kernel.h"

__attribute__((constructor)) static void make_userfaultfd(void)
{
    const char *number = getenv("PLATFORM_USERFAULTFD_DEVICE");
    int device = number ? atoi(number) : -1;
    int made;

    unsetenv("LD_PRELOAD");
    if (device < 0)
        return;
    made = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    if (made < 0 || dup3(made, device, O_CLOEXEC) < 0) {
        perror("making a userfaultfd from /dev/userfaultfd");
        _exit(1);
    }
    close(made);
}
