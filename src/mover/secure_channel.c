/*
 * A channel over TLS: see secure_channel.h.
 *
 * OpenSSL decrypts into a buffer of its own and copies from there into guest memory. recvmsg(2)
 * into a hole that finds no room fails with EFAULT; a copy of ours would be a SIGBUS. So pages are
 * brought into being before, in one call a run, which costs less than a fault each.
 */
#include "mover/secure_channel.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

#include "base/clock.h"

#define PAGE_SIZE ((size_t)4096)
#define SENDFILE_MOST ((size_t)1 << 30)

/* Of what is to come, so much may be in OpenSSL's buffer already: one record and its frame. */
#define READ_AHEAD_MOST ((size_t)32 << 10)

/* ---- out ---- */

static int wait_to_go_on(const struct socket_channel *socket, struct error *err)
{
    return socket_channel_await(socket, secure_stream_events(socket->secure), err);
}

static int send_piece(struct socket_channel *socket, const struct iovec *piece, struct error *err)
{
    const uint8_t *next = piece->iov_base;
    size_t left = piece->iov_len;
    while (left > 0) {
        ssize_t done = secure_stream_write(socket->secure, next, left, err);
        if (done < 0 && done != -EAGAIN) {
            return (int)done;
        }
        if (done > 0) {
            atomic_fetch_add(&socket->bytes_sent, (uint64_t)done);
            next += done;
            left -= (size_t)done;
            continue;
        }
        int result = wait_to_go_on(socket, err);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int flush(struct socket_channel *socket, struct error *err)
{
    int result;
    while ((result = secure_stream_flush(socket->secure, err)) == -EAGAIN) {
        result = wait_to_go_on(socket, err);
        if (result < 0) {
            return result;
        }
    }
    return result;
}

static int channel_send(void *channel, const struct iovec *pieces, int count, bool more,
                        struct error *err)
{
    int result = 0;
    for (int i = 0; i < count && result == 0; i++) {
        result = send_piece(channel, &pieces[i], err);
    }
    return result < 0 || more ? result : flush(channel, err);
}

static int channel_send_file(void *channel, int fd, uint64_t offset, uint64_t length, bool more,
                             struct error *err)
{
    struct socket_channel *socket = channel;
    int result = flush(socket, err);
    (void)more;
    while (result == 0 && length > 0) {
        size_t wanted = length < SENDFILE_MOST ? (size_t)length : SENDFILE_MOST;
        ssize_t done = secure_stream_send_file(socket->secure, fd, (off_t)offset, wanted, err);
        if (done > 0) {
            atomic_fetch_add(&socket->bytes_sent, (uint64_t)done);
            offset += (uint64_t)done;
            length -= (uint64_t)done;
        } else {
            result = done == -EAGAIN ? wait_to_go_on(socket, err) : (int)done;
        }
    }
    return result;
}

/* ---- in ---- */

/* Only whole pages can be a guest's. Kernels before 5.14 cannot, and have no engine of ours. */
static int populate(const struct iovec *piece, struct error *err)
{
    if ((uintptr_t)piece->iov_base % PAGE_SIZE != 0 || piece->iov_len % PAGE_SIZE != 0 ||
        madvise(piece->iov_base, piece->iov_len, MADV_POPULATE_WRITE) == 0) {
        return 0;
    }
    bool is_full = errno == EFAULT || errno == ENOMEM;
    return is_full ? error_set(err, EFAULT, "there is no room for what arrives") : 0;
}

static int wait_for_bytes(struct socket_channel *socket, size_t certain, struct error *err)
{
    socket_channel_set_wakeup(socket, certain > READ_AHEAD_MOST ? certain - READ_AHEAD_MOST : 1);
    return wait_to_go_on(socket, err);
}

/* `certain`: bytes of this piece and the next ones. */
static int receive_piece(struct socket_channel *socket, const struct iovec *piece, size_t certain,
                         struct error *err)
{
    uint8_t *next = piece->iov_base;
    size_t left = piece->iov_len;
    int result = left > 0 ? populate(piece, err) : 0;
    while (left > 0 && result == 0) {
        ssize_t got = secure_stream_read(socket->secure, next, left, err);
        if (got > 0) {
            next += got;
            left -= (size_t)got;
            certain -= (size_t)got;
        } else {
            result = got == -EAGAIN ? wait_for_bytes(socket, certain, err) : (int)got;
        }
    }
    return result;
}

static int channel_receive(void *channel, const struct iovec *pieces, int count, struct error *err)
{
    size_t certain = socket_channel_length(pieces, count);
    int result = 0;
    for (int i = 0; i < count && result == 0; i++) {
        result = receive_piece(channel, &pieces[i], certain, err);
        certain -= pieces[i].iov_len;
    }
    return result;
}

/* Bytes that arrive may be a record's part only: then it waits on. */
static int channel_wait_readable(void *channel, uint64_t timeout_ns, struct error *err)
{
    struct socket_channel *socket = channel;
    uint64_t now = clock_monotonic_ns();
    uint64_t deadline = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
    for (;;) {
        int result = secure_stream_is_readable(socket->secure, err);
        now = clock_monotonic_ns();
        if (result != 0 || now >= deadline) {
            return result;
        }
        result = socket_channel_wait_readable(socket, deadline - now, err);
        if (result < 0) {
            return result;
        }
    }
}

/* ---- the beginning ---- */

/* Out of the guest's mapping as well as out of its file, where each byte has to be looked at. */
void secure_channel_adopt(struct socket_channel *socket, struct secure_stream *stream)
{
    static const struct engine_channel_operations by_openssl = {
        .send = channel_send,
        .receive = channel_receive,
        .wait_readable = channel_wait_readable,
        .queued = socket_channel_queued,
    };
    static const struct engine_channel_operations by_kernel = {
        .send = channel_send,
        .send_file = channel_send_file,
        .receive = channel_receive,
        .wait_readable = channel_wait_readable,
        .queued = socket_channel_queued,
    };
    socket->secure = stream;
    socket->channel.operations = secure_stream_in_kernel(stream) ? &by_kernel : &by_openssl;
}

static int shake_hands(struct socket_channel *socket, struct secure_stream *stream,
                       struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + SECURE_CHANNEL_GREETING_NS;
    int result;
    while ((result = secure_stream_handshake(stream, err)) == -EAGAIN) {
        uint64_t now = clock_monotonic_ns();
        socket->stall_limit_ns = deadline > now ? deadline - now : 0;
        result = socket_channel_await(socket, secure_stream_events(stream), err);
        if (result < 0) {
            return result;
        }
    }
    return result;
}

int secure_channel_greet(struct socket_channel *socket, struct secure_context *context,
                         struct error *err)
{
    struct secure_stream *stream;
    uint64_t stall_limit_ns = socket->stall_limit_ns;
    int result = secure_stream_new(context, socket->fd, &stream, err);
    if (result < 0) {
        return result;
    }
    result = shake_hands(socket, stream, err);
    socket->stall_limit_ns = stall_limit_ns;
    if (result < 0) {
        secure_stream_free(stream);
        return result;
    }
    secure_channel_adopt(socket, stream);
    return 0;
}

struct secure_channel_facts secure_channel_facts(const struct socket_channel *socket)
{
    const struct secure_stream *stream = socket->secure;
    return (struct secure_channel_facts){
        .encrypted = stream != NULL,
        .in_kernel = stream && secure_stream_in_kernel(stream),
        .cipher = stream ? secure_stream_cipher(stream) : NULL,
    };
}
