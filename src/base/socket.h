/* Sockets: blocking, close-on-exec, with time limits; descriptors passed over UNIX sockets. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Listens on a UNIX socket path, replacing a stale socket; -EADDRINUSE when somebody answers there
 * or it is no socket. Nobody that `mode` excludes can connect at any moment. Returns a descriptor.
 */
int socket_listen_unix(const char *path, mode_t mode, struct error *err);

/* Connects to a UNIX socket that its file's owner listens on (-EPERM: another does; -ELOOP,
 * -ENOTSOCK: a link or something else is in its place): a folder that belongs to somebody less
 * privileged than we are may hold anything. Returns a descriptor. */
int socket_connect_unix(const char *path, struct error *err);

/* As socket_connect_unix(), without waiting (-EAGAIN: its queue is full); non-blocking. */
int socket_connect_unix_at_once(const char *path, struct error *err);

/* Listens on a numeric address ("10.0.0.1", "::1"); port 0 picks one. ret_port may be NULL. */
int socket_listen_tcp(const char *address, uint16_t port, uint16_t *ret_port, struct error *err);

/* Connects to a numeric address within a time limit; TCP_NODELAY is set. Where the host's
 * congestion control is BBR and the peer is near (a round trip below a millisecond), the connection
 * uses cubic or reno. */
int socket_connect_tcp(const char *address, uint16_t port, uint64_t timeout_ns, struct error *err);

/* As socket_connect_tcp(), from one of this host's addresses: with several networks the one to use.
 * An empty `local_address` leaves the choice to the kernel. */
int socket_connect_tcp_from(const char *local_address, const char *address, uint16_t port,
                            uint64_t timeout_ns, struct error *err);

/* The same in two steps, for who has to be able to give up meanwhile: a connection that is under
 * way, non-blocking, which shutdown(2) ends; and its end: 0, or why there is none. */
int socket_connect_begin(const char *local_address, const char *address, uint16_t port,
                         struct error *err);
int socket_connect_end(int fd, const char *address, uint16_t port, uint64_t timeout_ns,
                       struct error *err);

/* Accepts within a time limit (-ETIMEDOUT). */
int socket_accept(int listener, uint64_t timeout_ns, struct error *err);

/* Waits until fd is readable: 1 readable (or closed), 0 after the time limit, negative errno. */
int socket_wait_readable(int fd, uint64_t timeout_ns);

/* Sends bytes (at least one) with up to 16 descriptors attached, and receives them.
 * socket_receive_fds() returns the number of bytes, 0 at the end; *ret_count descriptors were
 * stored, owned by the caller. */
int socket_send_fds(int socket, const void *bytes, size_t length, const int *fds, size_t count);
ssize_t socket_receive_fds(int socket, void *bytes, size_t length, int *ret_fds, size_t capacity,
                           size_t *ret_count);
