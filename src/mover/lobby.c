/* The lobby: see lobby.h. */
#include "mover/lobby.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

void lobby_init(struct lobby *lobby, const int *listeners, size_t listener_count)
{
    assert(listener_count <= LOBBY_LISTENERS_MOST);
    *lobby = (struct lobby){.listeners = listeners, .listener_count = listener_count};
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

static int enter(struct lobby *lobby, int listener, struct error *err)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
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

/* Fills pollers for the seats, and the listeners behind them. */
static int poll_all(const struct lobby *lobby, struct pollfd *pollers, uint64_t timeout_ns)
{
    for (size_t i = 0; i < lobby->taken; i++) {
        pollers[i] = (struct pollfd){.fd = lobby->seats[i], .events = POLLIN};
    }
    for (size_t i = 0; i < lobby->listener_count; i++) {
        pollers[lobby->taken + i] = (struct pollfd){.fd = lobby->listeners[i], .events = POLLIN};
    }
    return poll(pollers, lobby->taken + lobby->listener_count,
                (int)(timeout_ns / NANOSECONDS_PER_MILLISECOND));
}

/* Whoever waits at the listeners that `pollers` found somebody at. */
static int let_in(struct lobby *lobby, const struct pollfd *pollers, struct error *err)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < lobby->listener_count; i++) {
        if (pollers[i].revents) {
            result = enter(lobby, lobby->listeners[i], err);
        }
    }
    return result;
}

int lobby_wait(struct lobby *lobby, uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    for (;;) {
        struct pollfd pollers[LOBBY_SEATS + LOBBY_LISTENERS_MOST];
        uint64_t now = clock_monotonic_ns();
        size_t seats = lobby->taken;
        if (poll_all(lobby, pollers, deadline > now ? deadline - now : 0) <= 0) {
            if (now >= deadline) {
                return -EAGAIN;
            }
            continue;
        }
        for (size_t i = 0; i < seats; i++) {
            if (pollers[i].revents) {
                return leave(lobby, i);
            }
        }
        int result = let_in(lobby, &pollers[seats], err);
        if (result < 0) {
            return result;
        }
    }
}
