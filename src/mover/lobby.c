/* The lobby: see lobby.h. */
#include "mover/lobby.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

void lobby_init(struct lobby *lobby, int listener)
{
    *lobby = (struct lobby){.listener = listener};
}

void lobby_done(struct lobby *lobby)
{
    while (lobby->taken > 0) {
        close(lobby->seats[--lobby->taken]);
    }
}

/* Frees a seat; the others move up. */
static int leave(struct lobby *lobby, size_t seat)
{
    int fd = lobby->seats[seat];
    lobby->taken--;
    memmove(&lobby->seats[seat], &lobby->seats[seat + 1],
            (lobby->taken - seat) * sizeof(lobby->seats[0]));
    return fd;
}

static int enter(struct lobby *lobby, struct error *err)
{
    int fd = accept4(lobby->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        bool passing = errno == EINTR || errno == EAGAIN || errno == ECONNABORTED;
        return passing ? 0 : error_set_errno(err, errno, "cannot accept a connection");
    }
    if (lobby->taken == LOBBY_SEATS) {
        close(leave(lobby, 0));
    }
    lobby->seats[lobby->taken++] = fd;
    return 0;
}

/* Fills pollers for the seats, and the listener behind them. */
static int poll_all(const struct lobby *lobby, struct pollfd *pollers, uint64_t timeout_ns)
{
    for (size_t i = 0; i < lobby->taken; i++) {
        pollers[i] = (struct pollfd){.fd = lobby->seats[i], .events = POLLIN};
    }
    pollers[lobby->taken] = (struct pollfd){.fd = lobby->listener, .events = POLLIN};
    return poll(pollers, lobby->taken + 1, (int)(timeout_ns / NANOSECONDS_PER_MILLISECOND));
}

int lobby_wait(struct lobby *lobby, uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    for (;;) {
        struct pollfd pollers[LOBBY_SEATS + 1];
        uint64_t now = clock_monotonic_ns();
        size_t listener = lobby->taken;
        if (poll_all(lobby, pollers, deadline > now ? deadline - now : 0) <= 0) {
            if (now >= deadline) {
                return -EAGAIN;
            }
            continue;
        }
        for (size_t i = 0; i < listener; i++) {
            if (pollers[i].revents) {
                return leave(lobby, i);
            }
        }
        int result = enter(lobby, err);
        if (result < 0) {
            return result;
        }
    }
}
