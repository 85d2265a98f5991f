/* Sockets: see socket.h. */
#include "base/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define FDS_PER_MESSAGE 16
#define CONGESTION_NAME_SIZE 16
#define NEAR_MICROSECONDS 1000u /* of a round trip: the peer is on a network of the same place */

static int unix_address(const char *path, struct sockaddr_un *ret_address, struct error *err)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret_address->sun_path)) {
        return error_set(err, ENAMETOOLONG, "the socket path %s is longer than %zu characters",
                         path, sizeof(ret_address->sun_path) - 1);
    }
    strcpy(ret_address->sun_path, path);
    return 0;
}

/* Without waiting: a listener whose queue is full is one as well. */
static bool somebody_listens(const struct sockaddr_un *address)
{
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
                       errno == EAGAIN);
}

/* Makes room at the path: a socket that nobody listens on any more is removed. */
static int remove_stale_socket(const struct sockaddr_un *address, struct error *err)
{
    struct stat status;
    const char *path = address->sun_path;
    if (lstat(path, &status) < 0) {
        return 0;
    }
    if (!S_ISSOCK(status.st_mode)) {
        return error_set(err, EADDRINUSE, "%s exists and is no socket", path);
    }
    if (somebody_listens(address)) {
        return error_set(err, EADDRINUSE, "another process listens on %s", path);
    }
    return unlink(path) < 0 && errno != ENOENT
               ? error_set_errno(err, errno, "cannot replace the socket %s", path)
               : 0;
}

int socket_listen_unix(const char *path, mode_t mode, struct error *err)
{
    struct sockaddr_un address;
    int result = unix_address(path, &address, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot make a UNIX socket");
    }
    result = remove_stale_socket(&address, err);
    if (result < 0) {
        return result;
    }
    /* bind(2) gives the path the descriptor's mode less the umask; chmod(2) adds what that took */
    if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(path, mode) < 0 || listen(fd, 64) < 0) {
        return error_set_errno(err, errno, "cannot listen on %s", path);
    }
    return steal_fd(&fd);
}

/* The socket's file, which no link of another's choosing stands for, however the path is changed
 * meanwhile. */
static int open_socket_file(const char *path, struct stat *ret_status, struct error *err)
{
    CLEANUP_CLOSE int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0 || fstat(file, ret_status) < 0) {
        return error_set_errno(err, errno, "cannot connect to %s", path);
    }
    if (!S_ISSOCK(ret_status->st_mode)) {
        return error_set(err, ENOTSOCK, "cannot connect to %s: it is not a socket", path);
    }
    return steal_fd(&file);
}

/* Who listens is known from the moment of listen(2). */
static int check_listener(int fd, uid_t owner, const char *path, struct error *err)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
        return error_set_errno(err, errno, "cannot tell who listens on %s", path);
    }
    return peer.uid == owner
               ? 0
               : error_set(err, EPERM, "another user (%u) than its owner (%u) listens on %s",
                           peer.uid, owner, path);
}

static int connect_unix(const char *path, int flags, struct error *err)
{
    struct sockaddr_un address;
    struct stat status;
    int result = unix_address(path, &address, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int file = open_socket_file(path, &status, err);
    if (file < 0) {
        return file;
    }
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot make a UNIX socket");
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return error_set_errno(err, errno, "cannot connect to %s", path);
    }
    result = check_listener(fd, status.st_uid, path, err);
    return result < 0 ? result : steal_fd(&fd);
}

int socket_connect_unix(const char *path, struct error *err)
{
    return connect_unix(path, 0, err);
}

int socket_connect_unix_at_once(const char *path, struct error *err)
{
    return connect_unix(path, SOCK_NONBLOCK, err);
}

static int tcp_address(const char *text, uint16_t port, struct sockaddr_storage *ret_address,
                       socklen_t *ret_length, struct error *err)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    *ret_address = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(ret_address, &v4, sizeof(v4));
        *ret_length = sizeof(v4);
        return 0;
    }
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
        memcpy(ret_address, &v6, sizeof(v6));
        *ret_length = sizeof(v6);
        return 0;
    }
    return error_set(err, EINVAL, "\"%s\" is not a numeric IPv4 or IPv6 address", text);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

int socket_listen_tcp(const char *address, uint16_t port, uint16_t *ret_port, struct error *err)
{
    struct sockaddr_storage target;
    socklen_t length;
    int result = tcp_address(address, port, &target, &length, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int fd = socket(target.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot make a TCP socket");
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&target, length) < 0 || listen(fd, 64) < 0) {
        return error_set_errno(err, errno, "cannot listen on %s port %u", address, port);
    }
    if (ret_port) {
        *ret_port = port_of(fd);
    }
    return steal_fd(&fd);
}

static int wait_for(int fd, short events, uint64_t timeout_ns)
{
    uint64_t start = clock_monotonic_ns();
    uint64_t deadline = timeout_ns > UINT64_MAX - start ? UINT64_MAX : start + timeout_ns;
    for (;;) {
        uint64_t now = clock_monotonic_ns();
        uint64_t left = deadline > now ? deadline - now : 0;
        uint64_t milliseconds =
            (left + NANOSECONDS_PER_MILLISECOND - 1) / NANOSECONDS_PER_MILLISECOND;
        struct pollfd poller = {.fd = fd, .events = events};
        int ready = poll(&poller, 1, milliseconds > 1000000 ? 1000000 : (int)milliseconds);
        if (ready > 0) {
            return 1;
        }
        if (ready < 0 && errno != EINTR) {
            return -errno;
        }
        if (left == 0) {
            return 0;
        }
    }
}

int socket_wait_readable(int fd, uint64_t timeout_ns)
{
    return wait_for(fd, POLLIN, timeout_ns);
}

/* The port is left to connect(2), so that all ports serve for each destination. */
static int bind_local(int fd, const char *local_address, struct error *err)
{
    struct sockaddr_storage local;
    socklen_t length;
    int on = 1;
    int result = local_address[0] ? tcp_address(local_address, 0, &local, &length, err) : 0;
    if (result < 0 || !local_address[0]) {
        return result;
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&local, length) < 0) {
        return error_set_errno(err, errno, "cannot connect from the address %s", local_address);
    }
    return 0;
}

static void congestion_control(int fd, char ret_name[CONGESTION_NAME_SIZE])
{
    socklen_t length = CONGESTION_NAME_SIZE - 1;
    memset(ret_name, 0, CONGESTION_NAME_SIZE);
    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret_name, &length);
}

/* BBR paces a connection with a timer for each burst. At memory's speed, to a peer that is near,
 * the timers cost more than half of the rate. Once established a connection stays paced, so this
 * comes before. */
static void begin_unpaced(int fd)
{
    char choice[CONGESTION_NAME_SIZE];
    congestion_control(fd, choice);
    if (strncmp(choice, "bbr", 3) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic")) < 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno")); /* always allowed */
    }
}

/* On a long way the host's choice, which a new socket has, is the better one. */
static void restore_when_far(int fd)
{
    char choice[CONGESTION_NAME_SIZE];
    struct tcp_info info = {0};
    socklen_t length = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ||
        info.tcpi_rtt < NEAR_MICROSECONDS) {
        return;
    }
    CLEANUP_CLOSE int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    congestion_control(fresh, choice);
    if (choice[0]) {
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, choice, (socklen_t)strlen(choice));
    }
}

int socket_connect_begin(const char *local_address, const char *address, uint16_t port,
                         struct error *err)
{
    struct sockaddr_storage target;
    socklen_t length;
    int on = 1;
    int result = tcp_address(address, port, &target, &length, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int fd = socket(target.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot make a TCP socket");
    }
    result = bind_local(fd, local_address, err);
    if (result < 0) {
        return result;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    begin_unpaced(fd);
    if (connect(fd, (struct sockaddr *)&target, length) < 0 && errno != EINPROGRESS) {
        return error_set_errno(err, errno, "cannot connect to %s port %u", address, port);
    }
    return steal_fd(&fd);
}

int socket_connect_end(int fd, const char *address, uint16_t port, uint64_t timeout_ns,
                       struct error *err)
{
    int reason = 0;
    socklen_t length = sizeof(reason);
    int ready = wait_for(fd, POLLOUT, timeout_ns);
    if (ready <= 0) {
        reason = ready < 0 ? -ready : ETIMEDOUT;
    } else {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &length);
    }
    if (reason != 0) {
        return error_set_errno(err, reason, "cannot connect to %s port %u", address, port);
    }
    restore_when_far(fd);
    return 0;
}

int socket_connect_tcp_from(const char *local_address, const char *address, uint16_t port,
                            uint64_t timeout_ns, struct error *err)
{
    CLEANUP_CLOSE int fd = socket_connect_begin(local_address, address, port, err);
    if (fd < 0) {
        return fd;
    }
    int result = socket_connect_end(fd, address, port, timeout_ns, err);
    if (result < 0) {
        return result;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return steal_fd(&fd);
}

int socket_connect_tcp(const char *address, uint16_t port, uint64_t timeout_ns, struct error *err)
{
    return socket_connect_tcp_from("", address, port, timeout_ns, err);
}

int socket_accept(int listener, uint64_t timeout_ns, struct error *err)
{
    int ready = wait_for(listener, POLLIN, timeout_ns);
    if (ready <= 0) {
        return error_set_errno(err, ready < 0 ? ready : ETIMEDOUT, "nobody connected");
    }
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot accept a connection");
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

int socket_send_fds(int socket, const void *bytes, size_t length, const int *fds, size_t count)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * FDS_PER_MESSAGE)];
    } control = {0};
    if (count > FDS_PER_MESSAGE || length == 0) {
        return -EINVAL;
    }
    struct iovec vector = {(void *)bytes, length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        return -errno;
    }
    return (size_t)sent == length ? 0 : -EMSGSIZE;
}

static void take_fds(struct cmsghdr *header, int *fds, size_t capacity, size_t *count)
{
    size_t received = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < received; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        if (*count < capacity) {
            fds[(*count)++] = fd;
        } else {
            close(fd);
        }
    }
}

ssize_t socket_receive_fds(int socket, void *bytes, size_t length, int *ret_fds, size_t capacity,
                           size_t *ret_count)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * FDS_PER_MESSAGE)];
    } control = {0};
    struct iovec vector = {bytes, length};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    ssize_t got;
    do {
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -errno;
    }
    *ret_count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            take_fds(header, ret_fds, capacity, ret_count);
        }
    }
    return got;
}
