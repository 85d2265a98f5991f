/* Asking the preload library for a userfaultfd: see userfaultfd.h. */
#include "vmm/qemu/userfaultfd.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/socket.h"
#include "vmm/qemu/preload.h"

#define ANSWER_MS 2000 /* the thread that answers does nothing else */

/* An answer that an earlier asker did not live to take is as good as ours, which the next one will
 * find then. */
static int take_answer(int maker, struct error *err)
{
    struct pollfd poller = {.fd = maker, .events = POLLIN};
    char byte;
    int fd;
    size_t count = 0;
    if (poll(&poller, 1, ANSWER_MS) <= 0) {
        return error_set(err, ETIMEDOUT, "QEMU's maker of userfaultfds does not answer");
    }
    ssize_t got = socket_receive_fds(maker, &byte, sizeof(byte), &fd, 1, &count);
    if (got < 0) {
        return error_set_errno(err, (int)got, "cannot take a userfaultfd from QEMU");
    }
    return count == 1 ? fd : error_set(err, ENOMEM, "QEMU could not make a userfaultfd");
}

int qemu_userfaultfd_new(int pidfd, struct error *err)
{
    CLEANUP_CLOSE int maker = (int)syscall(SYS_pidfd_getfd, pidfd, QEMU_USERFAULTFD_MAKER, 0);
    if (maker < 0) {
        return error_set_errno(err, errno, "QEMU has no maker of userfaultfds");
    }
    if (send(maker, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
        return error_set_errno(err, errno, "cannot ask QEMU for a userfaultfd");
    }
    return take_answer(maker, err);
}
