/* The sending side of a variant: see copy_variant.h. */
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "copy_variant.h"

struct lane {
    const struct copy_variant *variant;
    int file;
    uint8_t *memory; /* the file, mapped */
    uint64_t bytes;
    uint64_t index;
    int connection;
    int pipe[2];
    int result; /* of the lane, 0 or a negative errno */
};

/* Notifications are not read one by one: they only tell how much memory is still lent. */
static void drop_notifications(int connection)
{
    char control[512];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};
    while (recvmsg(connection, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) {
        message.msg_controllen = sizeof(control);
    }
}

static ssize_t send_zerocopy(const struct lane *lane, uint64_t offset, size_t length)
{
    for (;;) {
        ssize_t done =
            send(lane->connection, lane->memory + offset, length, MSG_NOSIGNAL | MSG_ZEROCOPY);
        if (done >= 0 || errno != ENOBUFS) {
            return done;
        }
        drop_notifications(lane->connection);
    }
}

/* What is in the pipe goes out whole, so that the next piece finds it empty. */
static ssize_t drain(const struct lane *lane, ssize_t filled)
{
    for (ssize_t sent = 0; sent < filled;) {
        ssize_t done = splice(lane->pipe[0], NULL, lane->connection, NULL, (size_t)(filled - sent),
                              SPLICE_F_MOVE | SPLICE_F_MORE);
        if (done <= 0) {
            return -1;
        }
        sent += done;
    }
    return filled;
}

static ssize_t send_piece(const struct lane *lane, uint64_t offset, size_t length)
{
    off_t position = (off_t)offset;
    struct iovec piece = {lane->memory + offset, length};
    switch (lane->variant->sender) {
    case COPY_SENDFILE:
        return sendfile(lane->connection, lane->file, &position, length);
    case COPY_SEND:
        return send(lane->connection, piece.iov_base, length, MSG_NOSIGNAL);
    case COPY_ZEROCOPY:
        return send_zerocopy(lane, offset, length);
    case COPY_SPLICE:
        return drain(lane, splice(lane->file, &position, lane->pipe[1], NULL, length, 0));
    case COPY_VMSPLICE:
        return drain(lane, vmsplice(lane->pipe[1], &piece, 1, 0));
    }
    errno = EINVAL;
    return -1;
}

static int send_stripe(const struct lane *lane, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        ssize_t done = send_piece(lane, offset, (size_t)length);
        if (done <= 0) {
            return done < 0 ? -errno : -EIO;
        }
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 0;
}

static void *send_lane(void *argument)
{
    struct lane *lane = argument;
    uint64_t position = lane->index * lane->variant->stripe, offset, length;
    while (lane->result == 0 && (length = copy_variant_next_stripe(lane->variant, lane->bytes,
                                                                   &position, &offset)) > 0) {
        lane->result = send_stripe(lane, offset, length);
    }
    return NULL;
}

static int prepare(struct lane *lane)
{
    int on = 1, size = (int)lane->variant->sndbuf;
    if (size > 0) {
        setsockopt(lane->connection, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    }
    const char *congestion = lane->variant->congestion;
    if (congestion[0] && setsockopt(lane->connection, IPPROTO_TCP, TCP_CONGESTION, congestion,
                                    (socklen_t)strlen(congestion)) < 0) {
        return -errno;
    }
    if (lane->variant->sender == COPY_ZEROCOPY &&
        setsockopt(lane->connection, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0) {
        return -errno;
    }
    if (lane->variant->sender != COPY_SPLICE && lane->variant->sender != COPY_VMSPLICE) {
        return 0;
    }
    return pipe2(lane->pipe, O_CLOEXEC) < 0 ||
                   fcntl(lane->pipe[1], F_SETPIPE_SZ, (int)lane->variant->buffer) < 0
               ? -errno
               : 0;
}

int copy_send(const struct copy_variant *variant, int file, uint64_t bytes, const int *connections,
              struct error *err)
{
    struct lane lanes[COPY_CONNECTIONS_MOST] = {0};
    pthread_t threads[COPY_CONNECTIONS_MOST];
    uint8_t *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map the source");
    }
    int result = 0;
    for (uint64_t i = 0; i < variant->connections; i++) {
        lanes[i] = (struct lane){.variant = variant,
                                 .file = file,
                                 .memory = memory,
                                 .bytes = bytes,
                                 .index = i,
                                 .connection = connections[i],
                                 .pipe = {-1, -1}};
        lanes[i].result = prepare(&lanes[i]);
        if (pthread_create(&threads[i], NULL, send_lane, &lanes[i]) != 0) {
            abort();
        }
    }
    for (uint64_t i = 0; i < variant->connections; i++) {
        pthread_join(threads[i], NULL);
        close_fd(&lanes[i].pipe[0]);
        close_fd(&lanes[i].pipe[1]);
        result = lanes[i].result < 0 ? lanes[i].result : result;
    }
    munmap(memory, bytes);
    return result < 0 ? error_set_errno(err, result, "cannot send") : 0;
}
