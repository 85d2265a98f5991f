/*
 * Loaded into QEMU before it starts (LD_PRELOAD): arms its deadline (preload_deadline.c), and makes
 * the userfaultfds through which Drover sees the guest's writes. They must be made by the process
 * whose memory they watch; nothing else of Drover's runs inside QEMU.
 *
 * QEMU is unprivileged and may not call userfaultfd(2) for faults that the kernel takes, so it
 * inherits /dev/userfaultfd, open, and makes its own from that. Without one QEMU runs on, and moves
 * by its own means.
 *
 * Two kinds. One, made at once, stays in QEMU: it tracks writes and makes nobody wait. Those that
 * make writers wait must end with the process that uses them, or writers would wait for the dead;
 * and they end with their last descriptor. So QEMU may hold none: a thread, asleep until it is
 * asked, makes one, sends it away and closes it. Depends on libc alone.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/kernel.h"
#include "vmm/qemu/preload.h"
#include "vmm/qemu/preload_deadline.h"
#include "vmm/qemu/preload_thread.h"

struct maker {
    int device;
    int socket; /* where requests come in */
};

static void complain(const char *what)
{
    perror(what);
    fputs("drover: this machine's memory cannot be tracked; it moves by QEMU's own means\n",
          stderr);
}

static int make_userfaultfd(int device)
{
    return ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
}

/* Puts a descriptor where it is looked for. */
static int place(int fd, int number)
{
    int placed = dup3(fd, number, O_CLOEXEC);
    close(fd);
    return placed;
}

static void make_tracking_userfaultfd(int device)
{
    int fd = make_userfaultfd(device);
    if (fd < 0) {
        complain("drover: cannot make a userfaultfd");
    } else if (place(fd, QEMU_USERFAULTFD) < 0) {
        complain("drover: cannot place the userfaultfd");
    }
}

/* An answer without a descriptor says that none could be made. */
static void answer(int socket, int fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec byte = {"", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof(int));
    }
    sendmsg(socket, &message, MSG_NOSIGNAL);
}

static void *serve(void *argument)
{
    struct maker maker = *(struct maker *)argument;
    char byte;
    free(argument);
    while (recv(maker.socket, &byte, 1, 0) == 1) {
        int fd = make_userfaultfd(maker.device);
        answer(maker.socket, fd);
        if (fd >= 0) {
            close(fd);
        }
    }
    return NULL;
}

/* Takes over `device`. Without a maker the machine moves all the same; its writers are not paced.
 */
static void start_maker(int device)
{
    int ends[2];
    struct maker *maker = malloc(sizeof(*maker));
    if (!maker || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        perror("drover: cannot make userfaultfds on demand");
        free(maker);
        close(device);
        return;
    }
    fcntl(device, F_SETFD, FD_CLOEXEC);
    *maker = (struct maker){.device = device, .socket = ends[1]};
    if (place(ends[0], QEMU_USERFAULTFD_MAKER) < 0 || preload_start_thread(serve, maker) != 0) {
        fputs("drover: cannot make userfaultfds on demand: no thread\n", stderr);
        close(QEMU_USERFAULTFD_MAKER);
        close(ends[1]);
        free(maker);
        close(device);
    }
}

static void prepare_tracking(void)
{
    const char *number = getenv(PRELOAD_DEVICE_VARIABLE);
    if (number) {
        int device = atoi(number); /* written by qemu_start(), never by a user */
        make_tracking_userfaultfd(device);
        start_maker(device);
    }
    unsetenv(PRELOAD_DEVICE_VARIABLE);
}

__attribute__((constructor)) static void prepare(void)
{
    preload_arm_deadline();
    prepare_tracking();
    unsetenv("LD_PRELOAD");
}
