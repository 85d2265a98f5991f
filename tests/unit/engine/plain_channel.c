/* A channel over one plain socket: see plain_channel.h. */
#include "plain_channel.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/socket.h"

#define PIECES_MOST 1024

/* Takes `length` bytes off the front of the pieces. */
static void advance(struct msghdr *message, size_t length)
{
    while (length > 0) {
        struct iovec *piece = message->msg_iov;
        size_t part = length < piece->iov_len ? length : piece->iov_len;
        piece->iov_base = (char *)piece->iov_base + part;
        piece->iov_len -= part;
        length -= part;
        if (piece->iov_len == 0) {
            message->msg_iov++;
            message->msg_iovlen--;
        }
    }
}

static int plain_send(void *context, const struct iovec *pieces, int count, bool more,
                      struct error *err)
{
    struct plain_channel *channel = context;
    struct iovec left[PIECES_MOST + 1];
    struct msghdr message = {.msg_iov = left, .msg_iovlen = (size_t)count};
    memcpy(left, pieces, (size_t)count * sizeof(*pieces));
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(channel->fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent < 0) {
            return error_set_errno(err, errno, "cannot send");
        }
        advance(&message, (size_t)sent);
    }
    return 0;
}

static int plain_send_file(void *context, int fd, uint64_t offset, uint64_t length, bool more,
                           struct error *err)
{
    struct plain_channel *channel = context;
    off_t at = (off_t)offset;
    (void)more;
    while (length > 0) {
        ssize_t sent = sendfile(channel->fd, fd, &at, length);
        if (sent <= 0) {
            return error_set_errno(err, sent < 0 ? errno : ENODATA, "cannot send from the file");
        }
        length -= (uint64_t)sent;
    }
    return 0;
}

static int plain_receive(void *context, const struct iovec *pieces, int count, struct error *err)
{
    struct plain_channel *channel = context;
    struct iovec left[PIECES_MOST];
    struct msghdr message = {.msg_iov = left, .msg_iovlen = (size_t)count};
    memcpy(left, pieces, (size_t)count * sizeof(*pieces));
    while (message.msg_iovlen > 0) {
        ssize_t got = recvmsg(channel->fd, &message, MSG_WAITALL);
        if (got <= 0) {
            return error_set_errno(err, got < 0 ? errno : ECONNRESET, "cannot receive");
        }
        advance(&message, (size_t)got);
    }
    return 0;
}

static int plain_wait_readable(void *context, uint64_t timeout_ns, struct error *err)
{
    struct plain_channel *channel = context;
    int result = socket_wait_readable(channel->fd, timeout_ns);
    return result < 0 ? error_set_errno(err, result, "cannot wait") : result;
}

static uint64_t plain_queued(void *context)
{
    struct plain_channel *channel = context;
    int queued = 0;
    ioctl(channel->fd, SIOCOUTQ, &queued);
    return (uint64_t)queued;
}

struct engine_channel plain_channel_of(struct plain_channel *channel)
{
    static const struct engine_channel_operations operations = {
        .send = plain_send,
        .send_file = plain_send_file,
        .receive = plain_receive,
        .wait_readable = plain_wait_readable,
        .queued = plain_queued,
    };
    return (struct engine_channel){.operations = &operations, .channel = channel};
}
