/* The side that sends: see session.h. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/socket.h"
#include "mover/native_guest.h"
#include "mover/report.h"
#include "mover/secure_channel.h"
#include "mover/session.h"
#include "mover/source_guest.h"
#include "mover/source_lanes.h"

#define CONNECT_TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)
#define CONNECT_PAUSE_NS (200 * NANOSECONDS_PER_MILLISECOND)
#define CONNECT_ATTEMPT_NS (2 * NANOSECONDS_PER_SECOND)

struct source_session {
    struct control_server *server;
    struct secure_context *context; /* NULL: no encryption */
    struct socket_channel channel;
    atomic_bool in_hurry; /* the guest stands still, or is about to */
    bool is_native;       /* which of the two guests it is */
    struct source_guest tracked;
    struct native_guest native;
    const struct engine_source_guest *guest; /* as the engine sees it */
    const struct source_stream *stream;      /* its */
};

static int init_guest(struct source_session *session, const struct mover_setup *setup,
                      struct error *err)
{
    session->is_native = setup->engine == MOVER_ENGINE_NATIVE;
    if (session->is_native) {
        session->guest = &session->native.guest;
        session->stream = &session->native.stream;
        return native_guest_init(&session->native, setup, err);
    }
    session->guest = &session->tracked.guest;
    session->stream = &session->tracked.stream;
    return source_guest_init(&session->tracked, setup, err);
}

static void end_guest(struct source_session *session, struct engine_statistics *statistics)
{
    source_stream_log_marks(session->stream);
    if (session->is_native) {
        native_guest_complete(&session->native, statistics);
        native_guest_done(&session->native);
    } else {
        source_guest_done(&session->tracked);
    }
}

static void tell_progress(void *observer, const struct engine_progress *progress)
{
    struct source_session *session = observer;
    atomic_store(&session->in_hurry, progress->phase == ENGINE_PHASE_SWITCHOVER);
    control_server_progress(session->server, progress);
}

static bool is_cancelled(void *observer)
{
    const struct source_session *session = observer;
    return session_cancelled(session->server);
}

/* From the question on the agent alone decides: a cancel comes too late to cut the channel. */
static enum engine_verdict commit(void *ownership, uint64_t ready_age_ns)
{
    struct source_session *session = ownership;
    session->channel.cancelled = NULL;
    return control_server_ask(session->server, CONTROL_QUESTION_COMMIT, ready_age_ns);
}

static int connect_once(struct source_session *session, const struct mover_path *path,
                        struct error *err)
{
    int fd = socket_connect_tcp_from(path->local_address, path->address, path->port,
                                     CONNECT_ATTEMPT_NS, err);
    if (fd < 0) {
        return fd;
    }
    socket_channel_init(&session->channel, fd, &session->server->cancelled);
    session->channel.in_hurry = &session->in_hurry;
    int result =
        session->context ? secure_channel_greet(&session->channel, session->context, err) : 0;
    if (result < 0) {
        socket_channel_done(&session->channel);
    }
    return result;
}

/* For seconds after a network was down the kernel still knows no way. */
static bool knows_no_way(int result)
{
    return result == -EHOSTUNREACH || result == -ENETUNREACH;
}

/* A network may be down, and strangers may crowd the lobby. Else it fails for good. */
static bool may_try_again(int result, size_t attempts, const struct mover_setup *setup)
{
    return attempts < setup->path_count || result == -ETIMEDOUT || result == -ECONNRESET ||
           knows_no_way(result);
}

/* Over one path after the other; in attempts, so that a cancel is seen in between. */
static int connect_patiently(struct source_session *session, const struct mover_setup *setup,
                             struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + CONNECT_TIMEOUT_NS;
    size_t attempts = 0;
    int result;
    do {
        const struct mover_path *path = &setup->paths[attempts++ % setup->path_count];
        if (session_cancelled(session->server)) {
            return error_set(err, ECANCELED, "the move was cancelled");
        }
        result = connect_once(session, path, err);
        if (knows_no_way(result)) {
            clock_sleep_ns(CONNECT_PAUSE_NS);
        }
    } while (result < 0 && result != -ECANCELED && may_try_again(result, attempts, setup) &&
             clock_monotonic_ns() < deadline);
    return result;
}

static int connect_channel(struct source_session *session, const struct mover_setup *setup,
                           struct error *err)
{
    int result = connect_patiently(session, setup, err);
    if (result < 0) {
        return result == -ECANCELED ? result : error_wrap(err, "cannot reach the destination");
    }
    return 0;
}

static enum engine_outcome run_engine(struct source_session *session,
                                      const struct mover_setup *setup,
                                      struct engine_statistics *statistics, struct error *err)
{
    struct engine_clock clock = session_clock();
    struct engine_ownership ownership = {.commit = commit, .ownership = session};
    struct engine_observer observer = {
        .progress = tell_progress, .cancelled = is_cancelled, .observer = session};
    struct engine_source_options options = setup->options;
    CLEANUP_LANES struct source_lanes *lanes =
        session->is_native ? NULL
                           : source_lanes_new(setup, session->context, &session->server->cancelled,
                                              &session->in_hurry);
    if (!lanes) { /* this was the only channel */
        secure_context_forget(session->context);
    }
    options.channels = lanes ? source_lanes_channels(setup) : 1;
    return engine_source_run(&options, session->guest, &session->channel.channel,
                             lanes ? &lanes->engine : NULL, &clock, &ownership, &observer,
                             statistics, err);
}

enum engine_outcome source_session_run(const struct mover_setup *setup,
                                       struct secure_context *context,
                                       struct control_server *server, json_t **ret_statistics,
                                       struct error *err)
{
    struct source_session session = {.server = server, .context = context};
    struct secure_channel_facts facts = {0};
    struct engine_statistics statistics = {.predicted_blackout_ns = UINT64_MAX};
    enum engine_outcome outcome = ENGINE_OUTCOME_STAYED;
    if (init_guest(&session, setup, err) == 0) {
        if (connect_channel(&session, setup, err) == 0) {
            facts = secure_channel_facts(&session.channel);
            outcome = run_engine(&session, setup, &statistics, err);
            socket_channel_done(&session.channel);
        }
        end_guest(&session, &statistics);
    }
    *ret_statistics = report_source_statistics(&statistics, &setup->options);
    report_add_encryption(*ret_statistics, &facts);
    report_add_moment(*ret_statistics, "stopped_at_ns", session.stream->marks.stopped_ns);
    return outcome;
}
