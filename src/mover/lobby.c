/* The lobby: see lobby.h. */
#include "mover/lobby.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define LOGGED_ALL 8u /* strangers that are logged one by one; then each power of two */

void lobby_init(struct lobby *lobby, const int *listeners, size_t listener_count,
                struct secure_context *context)
{
    assert(listener_count <= LOBBY_LISTENERS_MOST);
    *lobby = (struct lobby){
        .listeners = listeners, .listener_count = listener_count, .context = context};
}

static void hang_up(struct lobby_seat *seat)
{
    secure_stream_free(seat->secure);
    close_fd(&seat->fd);
}

void lobby_done(struct lobby *lobby)
{
    while (lobby->taken > 0) {
        hang_up(&lobby->seats[--lobby->taken]);
    }
}

/* Frees a seat; the others move up. */
static struct lobby_seat leave(struct lobby *lobby, size_t index)
{
    struct lobby_seat seat = lobby->seats[index];
    lobby->taken--;
    memmove(&lobby->seats[index], &lobby->seats[index + 1],
            (lobby->taken - index) * sizeof(lobby->seats[0]));
    return seat;
}

void lobby_turned_away(struct lobby *lobby, const char *reason)
{
    unsigned count = ++lobby->turned_away;
    if (count <= LOGGED_ALL || (count & (count - 1)) == 0) {
        log_warning("a stranger's connection was dropped (%u so far): %s", count, reason);
    }
}

static void turn_away(struct lobby *lobby, size_t index, const char *reason)
{
    struct lobby_seat seat = leave(lobby, index);
    hang_up(&seat);
    lobby_turned_away(lobby, reason);
}

/* Who gives way when somebody new comes: it must not be the one that is about to come in. */
static size_t least_promising(const struct lobby *lobby)
{
    for (size_t i = 0; lobby->context && i < lobby->taken; i++) {
        if (!secure_stream_is_promising(lobby->seats[i].secure)) {
            return i;
        }
    }
    return 0;
}

static int sit_down(struct lobby *lobby, int fd, struct error *err)
{
    struct lobby_seat seat = {.fd = fd, .taken_ns = clock_monotonic_ns()};
    if (lobby->context) {
        int result = secure_stream_new(lobby->context, fd, &seat.secure, err);
        if (result < 0) {
            close(fd);
            return result;
        }
    }
    if (lobby->taken == LOBBY_SEATS) {
        turn_away(lobby, least_promising(lobby), "others came");
    }
    lobby->seats[lobby->taken++] = seat;
    return 0;
}

static int enter(struct lobby *lobby, int listener, struct error *err)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        bool passing = errno == EINTR || errno == EAGAIN || errno == ECONNABORTED;
        return passing ? 0 : error_set_errno(err, errno, "cannot accept a connection");
    }
    return sit_down(lobby, fd, err);
}

/* Fills pollers for the seats, and the listeners behind them. */
static int poll_all(const struct lobby *lobby, struct pollfd *pollers, uint64_t timeout_ns)
{
    for (size_t i = 0; i < lobby->taken; i++) {
        const struct lobby_seat *seat = &lobby->seats[i];
        short events = seat->secure ? secure_stream_events(seat->secure) : POLLIN;
        pollers[i] = (struct pollfd){.fd = seat->fd, .events = events};
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

/* Hears those that spoke, the youngest first, so that those who leave disturb no index. Which seat
 * may come in; -EAGAIN: none. */
static int hear(struct lobby *lobby, const struct pollfd *pollers, size_t seats)
{
    for (size_t i = seats; i-- > 0;) {
        struct error reason = ERROR_NONE;
        struct secure_stream *secure = lobby->seats[i].secure;
        if (!pollers[i].revents) {
            continue;
        }
        int result = secure ? secure_stream_handshake(secure, &reason) : 0;
        if (result == 0) {
            return (int)i;
        }
        if (result != -EAGAIN) {
            turn_away(lobby, i, reason.message);
        }
    }
    return -EAGAIN;
}

/* Those whose time is over; the seats are in the order of their beginning. */
static void expel(struct lobby *lobby, uint64_t now)
{
    while (lobby->taken > 0 && now - lobby->seats[0].taken_ns > LOBBY_PATIENCE_NS) {
        turn_away(lobby, 0, "it did not show in time what it wants");
    }
}

/* One look at all of them: as lobby_wait(), but for -EAGAIN, which may come sooner. */
static int look(struct lobby *lobby, uint64_t timeout_ns, struct secure_stream **ret_secure,
                struct error *err)
{
    struct pollfd pollers[LOBBY_SEATS + LOBBY_LISTENERS_MOST];
    size_t seats = lobby->taken;
    if (poll_all(lobby, pollers, timeout_ns) <= 0) {
        return -EAGAIN;
    }
    int ready = hear(lobby, pollers, seats);
    if (ready >= 0) {
        struct lobby_seat seat = leave(lobby, (size_t)ready);
        *ret_secure = seat.secure;
        return seat.fd;
    }
    int result = let_in(lobby, &pollers[seats], err);
    return result < 0 ? result : -EAGAIN;
}

int lobby_wait(struct lobby *lobby, uint64_t timeout_ns, struct secure_stream **ret_secure,
               struct error *err)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t deadline = now + timeout_ns;
    int result;
    do {
        expel(lobby, now);
        result = look(lobby, deadline - now, ret_secure, err);
        now = clock_monotonic_ns();
    } while (result == -EAGAIN && now < deadline);
    return result;
}
