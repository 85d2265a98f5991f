/* Device state's pipe: see state_pipe.h. */
#include "mover/state_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CAPACITY (1 << 20) /* /proc/sys/fs/pipe-max-size by default */
#define STALL_MS 30000

static int set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int state_pipe_open(struct state_pipe *pipe, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0 || set_nonblocking(ends[0]) < 0 ||
        set_nonblocking(ends[1]) < 0) {
        return error_set_errno(err, errno, "cannot make a pipe for the device state");
    }
    fcntl(ends[1], F_SETPIPE_SZ, CAPACITY); /* a smaller one works too */
    *pipe = (struct state_pipe){.reader = ends[0], .writer = ends[1]};
    return 0;
}

void state_pipe_close(struct state_pipe *pipe)
{
    close_fd(&pipe->reader);
    close_fd(&pipe->writer);
}

ssize_t state_pipe_read(struct state_pipe *pipe, void *bytes, size_t size, struct error *err)
{
    ssize_t got;
    do {
        got = read(pipe->reader, bytes, size);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EAGAIN) {
        return error_set_errno(err, errno, "cannot read the device state");
    }
    return got < 0 ? -EAGAIN : got;
}

int state_pipe_write(struct state_pipe *pipe, const void *bytes, size_t length, struct error *err)
{
    const uint8_t *next = bytes;
    while (length > 0) {
        ssize_t done = write(pipe->writer, next, length);
        if (done < 0 && errno == EAGAIN) {
            struct pollfd poller = {.fd = pipe->writer, .events = POLLOUT};
            if (poll(&poller, 1, STALL_MS) == 0) {
                return error_set(err, ETIMEDOUT, "QEMU does not take the device state");
            }
        } else if (done < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "QEMU refuses the device state");
        } else if (done > 0) {
            next += done;
            length -= (size_t)done;
        }
    }
    return 0;
}
