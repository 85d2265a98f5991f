/*
 * The side that receives: see session.h.
 *
 * The port is open to the migration network, so whoever connects may be a stranger: a scanner, or
 * an attacker who wants the move to fail. Connections wait in a lobby until they have shown the
 * move's key in a TLS handshake; nothing of ours is read from those that cannot. Without encryption
 * the first that says something is heard, and heard out only for a moment before it has shown the
 * move's secret. One that has not is dropped and the next one heard. The true source speaks as soon
 * as it is connected.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mover/destination_guest.h"
#include "mover/destination_lanes.h"
#include "mover/lobby.h"
#include "mover/report.h"
#include "mover/secure_channel.h"
#include "mover/session.h"

#define PEER_TIMEOUT_NS (30 * NANOSECONDS_PER_SECOND)   /* for the source to come */
#define STRANGER_NS (500 * NANOSECONDS_PER_MILLISECOND) /* for its first words to be complete */
#define SLICE_NS (100 * NANOSECONDS_PER_MILLISECOND)

struct destination_session {
    struct control_server *server;
    struct secure_context *context; /* NULL: no encryption */
    struct socket_channel channel;
    struct destination_guest guest;
    bool knows_peer; /* it has shown the secret */
};

/* The engine tells of pre-copy once the handshake is done; what it tells of strangers is not news.
 */
static void tell_progress(void *observer, const struct engine_progress *progress)
{
    struct destination_session *session = observer;
    if (progress->phase == ENGINE_PHASE_PRECOPY && !session->knows_peer) {
        session->knows_peer = true;
        session->channel.deadline_ns = 0;
    }
    if (session->knows_peer) {
        control_server_progress(session->server, progress);
    }
}

static bool is_cancelled(void *observer)
{
    return session_cancelled(((struct destination_session *)observer)->server);
}

/* In doubt about the source's commit: the agent finds out, or makes it impossible. */
static enum engine_verdict settle(void *ownership)
{
    struct destination_session *session = ownership;
    log_warning("the source is gone in the middle of the switchover: the agent settles who owns "
                "the VM");
    return control_server_ask(session->server, CONTROL_QUESTION_SETTLE, 0);
}

static enum engine_outcome run_engine(struct destination_session *session,
                                      const struct mover_setup *setup,
                                      struct engine_destination_statistics *statistics,
                                      struct error *err)
{
    struct engine_clock clock = session_clock();
    struct engine_ownership ownership = {.settle = settle, .ownership = session};
    struct engine_observer observer = {
        .progress = tell_progress, .cancelled = is_cancelled, .observer = session};
    struct engine_destination_options options = {.silence_limit_ns = setup->silence_limit_ns,
                                                 .channels_most = destination_lanes_channels()};
    struct destination_lanes *lanes = destination_lanes_new(
        setup, session->context, &session->guest.guest, &session->server->cancelled);
    memcpy(options.token, setup->token, sizeof(options.token));
    memcpy(options.move_id, setup->move_id, sizeof(options.move_id));
    enum engine_outcome outcome = engine_destination_run(
        &options, &session->guest.guest, &session->channel.channel, lanes ? &lanes->engine : NULL,
        &clock, &ownership, &observer, statistics, err);
    destination_lanes_free(lanes);
    return outcome;
}

static void let_in(struct destination_session *session, int fd, struct secure_stream *secure)
{
    socket_channel_init(&session->channel, fd, &session->server->cancelled);
    if (secure) {
        secure_channel_adopt(&session->channel, secure);
    }
    session->channel.deadline_ns = clock_monotonic_ns() + STRANGER_NS;
}

/* The next connection that may come in: session->channel is it. */
static int await_peer(struct destination_session *session, struct lobby *lobby, uint64_t deadline,
                      struct error *err)
{
    for (;;) {
        struct secure_stream *secure = NULL;
        int fd = lobby_wait(lobby, SLICE_NS, &secure, err);
        if (fd >= 0) {
            let_in(session, fd, secure);
            return 0;
        }
        if (fd != -EAGAIN) {
            return fd;
        }
        if (session_cancelled(session->server)) {
            return error_set(err, ECANCELED, "the move was cancelled");
        }
        if (clock_monotonic_ns() > deadline) {
            return error_set(err, ETIMEDOUT, "the source did not connect");
        }
    }
}

static enum engine_outcome receive_move(struct destination_session *session,
                                        const struct mover_setup *setup,
                                        struct engine_destination_statistics *statistics,
                                        struct error *err)
{
    CLEANUP_LOBBY struct lobby lobby;
    uint64_t deadline = clock_monotonic_ns() + PEER_TIMEOUT_NS;
    lobby_init(&lobby, setup->listen_fds, setup->listen_count, session->context);
    for (;;) {
        if (await_peer(session, &lobby, deadline, err) < 0) {
            return ENGINE_OUTCOME_STAYED;
        }
        enum engine_outcome outcome = run_engine(session, setup, statistics, err);
        socket_channel_done(&session->channel);
        if (session->knows_peer || err->code == ECANCELED) {
            return outcome;
        }
        if (clock_monotonic_ns() > deadline) {
            error_set(err, ETIMEDOUT, "the source did not connect, only strangers did");
            return ENGINE_OUTCOME_STAYED;
        }
        lobby_turned_away(&lobby, err->message);
        *err = ERROR_NONE;
    }
}

enum engine_outcome destination_session_run(const struct mover_setup *setup,
                                            struct secure_context *context,
                                            struct control_server *server, json_t **ret_statistics,
                                            struct error *err)
{
    struct destination_session session = {.server = server, .context = context};
    struct engine_destination_statistics statistics = {0};
    enum engine_outcome outcome = ENGINE_OUTCOME_STAYED;
    if (destination_guest_init(&session.guest, setup, &server->cancelled, err) == 0) {
        outcome = receive_move(&session, setup, &statistics, err);
        destination_guest_log_marks(&session.guest);
        destination_guest_done(&session.guest);
    }
    *ret_statistics = report_destination_statistics(&statistics);
    report_add_moment(*ret_statistics, "resumed_at_ns", session.guest.marks.running_ns);
    return outcome;
}
