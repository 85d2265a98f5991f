/* A TCP channel: see socket_channel.h. */
#include "mover/socket_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

#define SLICE_MS 50 /* of a wait: how soon a cancel is seen */
#define CANCEL_GRACE_NS (500 * NANOSECONDS_PER_MILLISECOND)
#define SENDFILE_MOST ((size_t)1 << 30)
#define WAKEUP_BYTES_MOST ((size_t)512 * 1024)

static int lost(int code, const char *doing, struct error *err)
{
    if (code == 0) {
        return error_set(err, ECONNRESET, "the other side closed the connection");
    }
    return error_set_errno(err, code, "the connection to the other side was lost while %s", doing);
}

static int stalled(uint64_t waited_ns, struct error *err)
{
    char waited[32];
    units_format_duration(waited_ns, waited, sizeof(waited));
    return error_set(err, ETIMEDOUT, "the other side has neither sent nor taken anything for %s",
                     waited);
}

static uint64_t patience_ns(const struct socket_channel *socket)
{
    bool in_hurry = socket->in_hurry && atomic_load(socket->in_hurry);
    return in_hurry ? socket->hurry_limit_ns : socket->stall_limit_ns;
}

int socket_channel_await(const struct socket_channel *socket, short events, struct error *err)
{
    uint64_t began = clock_monotonic_ns();
    for (;;) {
        struct pollfd poller = {.fd = socket->fd, .events = events};
        if (socket->deadline_ns > 0 && clock_monotonic_ns() > socket->deadline_ns) {
            return error_set(err, ETIMEDOUT, "the other side took too long to greet");
        }
        if (poll(&poller, 1, SLICE_MS) > 0) {
            return 0;
        }
        uint64_t waited = clock_monotonic_ns() - began;
        if (socket->cancelled && atomic_load(socket->cancelled) && waited > CANCEL_GRACE_NS) {
            return error_set(err, ECANCELED, "the move was cancelled");
        }
        if (waited > patience_ns(socket)) {
            return stalled(waited, err);
        }
    }
}

/* After a call that moved nothing: 0 to try again. */
static int retry(const struct socket_channel *socket, short events, const char *doing,
                 struct error *err)
{
    if (errno == EINTR) {
        return 0;
    }
    return errno == EAGAIN ? socket_channel_await(socket, events, err) : lost(errno, doing, err);
}

/* Takes `done` bytes off the front; returns how many pieces are left. */
static int advance(struct iovec **pieces, int count, size_t done)
{
    while (count > 0 && done >= (*pieces)->iov_len) {
        done -= (*pieces)->iov_len;
        (*pieces)++;
        count--;
    }
    if (count > 0) {
        (*pieces)->iov_base = (uint8_t *)(*pieces)->iov_base + done;
        (*pieces)->iov_len -= done;
    }
    return count;
}

size_t socket_channel_length(const struct iovec *pieces, int count)
{
    size_t length = 0;
    for (int i = 0; i < count; i++) {
        length += pieces[i].iov_len;
    }
    return length;
}

void socket_channel_set_wakeup(struct socket_channel *socket, size_t bytes)
{
    int wanted = (int)(bytes < WAKEUP_BYTES_MOST ? bytes : WAKEUP_BYTES_MOST);
    if (wanted != socket->wakeup_bytes &&
        setsockopt(socket->fd, SOL_SOCKET, SO_RCVLOWAT, &wanted, sizeof(wanted)) == 0) {
        socket->wakeup_bytes = wanted;
    }
}

/* One piece after another, with a copy of the list to advance in. */
static int transfer(struct socket_channel *socket, const struct iovec *pieces, int count,
                    bool sending, int flags, struct error *err)
{
    struct iovec list[IOV_MAX];
    struct iovec *next = list;
    if (count > IOV_MAX) {
        return error_set(err, EINVAL, "a message of %d pieces is too many", count);
    }
    memcpy(list, pieces, sizeof(*pieces) * (size_t)count);
    count = advance(&next, count, 0);
    while (count > 0) {
        struct msghdr message = {.msg_iov = next, .msg_iovlen = (size_t)count};
        ssize_t done =
            sending ? sendmsg(socket->fd, &message, flags) : recvmsg(socket->fd, &message, flags);
        if (done == 0) {
            return lost(0, NULL, err);
        }
        if (done < 0) {
            if (!sending) {
                socket_channel_set_wakeup(socket, socket_channel_length(next, count));
            }
            int result = sending ? retry(socket, POLLOUT, "sending", err)
                                 : retry(socket, POLLIN, "receiving", err);
            if (result < 0) {
                return result;
            }
            continue;
        }
        if (sending) {
            atomic_fetch_add(&socket->bytes_sent, (uint64_t)done);
        }
        count = advance(&next, count, (size_t)done);
    }
    return 0;
}

static int channel_send(void *channel, const struct iovec *pieces, int count, bool more,
                        struct error *err)
{
    return transfer(channel, pieces, count, true, MSG_NOSIGNAL | (more ? MSG_MORE : 0), err);
}

static int channel_receive(void *channel, const struct iovec *pieces, int count, struct error *err)
{
    return transfer(channel, pieces, count, false, 0, err);
}

/* `more` needs no flag: sendfile(2) fills segments by itself, and TCP_NODELAY sends the last. */
static int channel_send_file(void *channel, int fd, uint64_t offset, uint64_t length, bool more,
                             struct error *err)
{
    struct socket_channel *socket = channel;
    off_t position = (off_t)offset;
    (void)more;
    while (length > 0) {
        size_t wanted = length < SENDFILE_MOST ? (size_t)length : SENDFILE_MOST;
        ssize_t done = sendfile(socket->fd, fd, &position, wanted);
        if (done == 0) {
            return error_set(err, EIO, "guest memory ended before it was sent");
        }
        if (done < 0) {
            int result = retry(socket, POLLOUT, "sending", err);
            if (result < 0) {
                return result;
            }
            continue;
        }
        atomic_fetch_add(&socket->bytes_sent, (uint64_t)done);
        length -= (uint64_t)done;
    }
    return 0;
}

int socket_channel_wait_readable(void *channel, uint64_t timeout_ns, struct error *err)
{
    struct socket_channel *socket = channel;
    socket_channel_set_wakeup(socket, 1);
    struct pollfd poller = {.fd = socket->fd, .events = POLLIN};
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NANOSECONDS_PER_SECOND),
                               .tv_nsec = (long)(timeout_ns % NANOSECONDS_PER_SECOND)};
    int ready = ppoll(&poller, 1, &timeout, NULL);
    if (ready < 0 && errno != EINTR) {
        return lost(errno, "waiting", err);
    }
    return ready > 0;
}

uint64_t socket_channel_queued(void *channel)
{
    struct socket_channel *socket = channel;
    int queued = 0;
    return ioctl(socket->fd, SIOCOUTQ, &queued) < 0 ? 0 : (uint64_t)queued;
}

void socket_channel_init(struct socket_channel *socket, int fd, const atomic_bool *cancelled)
{
    static const struct engine_channel_operations operations = {
        .send = channel_send,
        .send_file = channel_send_file,
        .receive = channel_receive,
        .wait_readable = socket_channel_wait_readable,
        .queued = socket_channel_queued,
    };
    int on = 1;
    *socket = (struct socket_channel){.fd = fd,
                                      .wakeup_bytes = 1,
                                      .stall_limit_ns = SOCKET_CHANNEL_STALL_NS,
                                      .hurry_limit_ns = SOCKET_CHANNEL_HURRY_NS,
                                      .cancelled = cancelled,
                                      .channel = {.operations = &operations, .channel = socket}};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void socket_channel_done(struct socket_channel *socket)
{
    secure_stream_free(socket->secure);
    socket->secure = NULL;
    close_fd(&socket->fd);
}
