/* The mover's control socket: see control_server.h. */
#include "mover/control_server.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "mover/line.h"
#include "mover/report.h"

#define SEND_LIMIT_S 2 /* an agent that does not read is hung up on; it comes again */

/* ---- the control thread ---- */

static void hang_up(struct control_server *server, const char *why)
{
    if (server->agent >= 0) {
        log_debug("the agent's connection ends: %s", why);
        close_fd(&server->agent);
    }
    buffer_reset(&server->input);
}

/* Steals `line`. */
static void tell(struct control_server *server, json_t *line)
{
    CLEANUP_JSON json_t *owned = line;
    struct error err = ERROR_NONE;
    if (server->agent >= 0 && owned && line_send(server->agent, owned, &err) < 0) {
        hang_up(server, err.message);
    }
}

static json_t *question_line(const struct control_server *server)
{
    return json_pack("{s:s, s:s, s:I}", "event", "question", "question",
                     server->question == CONTROL_QUESTION_COMMIT ? "commit" : "settle",
                     "asked_at_ns", (json_int_t)server->asked_at_ns);
}

/* What to say now, taken under the lock and said without it. `all`: to an agent that just came. */
static void tell_news(struct control_server *server, bool all)
{
    json_t *lines[3] = {NULL};
    pthread_mutex_lock(&server->lock);
    if (all || server->progress_is_news) {
        lines[0] = report_progress(&server->progress);
    }
    if (server->question != CONTROL_QUESTION_NONE && (all || server->question_is_news)) {
        lines[1] = question_line(server);
    }
    if (server->result && (all || server->result_is_news)) {
        lines[2] = json_deep_copy(server->result);
    }
    server->progress_is_news = server->question_is_news = server->result_is_news = false;
    pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i]) {
            tell(server, lines[i]);
        }
    }
}

static void take_answer(struct control_server *server, const char *owner)
{
    bool is_source = owner && strcmp(owner, "source") == 0;
    if (!is_source && (!owner || strcmp(owner, "destination") != 0)) {
        log_warning("the agent's answer names no owner: it is ignored");
        return;
    }
    pthread_mutex_lock(&server->lock);
    if (server->question != CONTROL_QUESTION_NONE) {
        server->question = CONTROL_QUESTION_NONE;
        server->answer = is_source ? ENGINE_OWNER_SOURCE : ENGINE_OWNER_DESTINATION;
        server->answered = true;
        pthread_cond_broadcast(&server->changed);
    } else {
        log_warning("the agent answers what was not asked: it is ignored");
    }
    pthread_mutex_unlock(&server->lock);
}

/* The result has to be there: an agent cannot have taken it before. */
static void take_end(struct control_server *server)
{
    pthread_mutex_lock(&server->lock);
    if (server->result) {
        server->ended = true;
        pthread_cond_broadcast(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
}

static void obey(struct control_server *server, const json_t *line)
{
    const char *command = json_string_value(json_object_get(line, "command"));
    if (command && strcmp(command, "cancel") == 0) {
        log_info("the agent cancels the move");
        atomic_store(&server->cancelled, true);
    } else if (command && strcmp(command, "answer") == 0) {
        take_answer(server, json_string_value(json_object_get(line, "owner")));
    } else if (command && strcmp(command, "end") == 0) {
        take_end(server);
    } else {
        log_warning("the agent sent a command that is not known: it is ignored");
    }
}

static void listen_to_agent(struct control_server *server)
{
    struct error err = ERROR_NONE;
    int result = line_receive(server->agent, &server->input, &err);
    while (result == 0) {
        CLEANUP_JSON json_t *line = NULL;
        result = line_take(&server->input, &line, &err);
        if (result == 0) {
            return;
        }
        if (result > 0) {
            obey(server, line);
            result = 0;
        }
    }
    hang_up(server, err.message);
}

/* Only who made the control socket may use it: its credentials are those of listen(2). */
static bool is_agent(const struct control_server *server, int fd)
{
    struct ucred maker, peer;
    socklen_t length = sizeof(maker);
    return getsockopt(server->listener, SOL_SOCKET, SO_PEERCRED, &maker, &length) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == maker.uid;
}

static void welcome_agent(struct control_server *server)
{
    int agent = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    struct timeval limit = {.tv_sec = SEND_LIMIT_S};
    if (agent < 0) {
        return;
    }
    if (!is_agent(server, agent)) {
        log_warning("somebody who is not the agent came to the control socket, and was sent away");
        close(agent);
        return;
    }
    setsockopt(agent, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    hang_up(server, "another agent came");
    server->agent = agent;
    tell_news(server, true);
}

static bool has_ended(struct control_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool ended = server->ended;
    pthread_mutex_unlock(&server->lock);
    return ended;
}

static void *serve(void *argument)
{
    struct control_server *server = argument;
    while (!has_ended(server)) {
        struct pollfd pollers[] = {{.fd = server->wake, .events = POLLIN},
                                   {.fd = server->listener, .events = POLLIN},
                                   {.fd = server->agent, .events = POLLIN}};
        if (poll(pollers, 3, -1) < 0) {
            continue; /* EINTR */
        }
        if (pollers[2].revents) {
            listen_to_agent(server);
        }
        if (pollers[1].revents) {
            welcome_agent(server);
        }
        eventfd_t count;
        if (pollers[0].revents && eventfd_read(server->wake, &count) == 0) {
            tell_news(server, false);
        }
    }
    hang_up(server, "the move is over");
    return NULL;
}

/* ---- the engine's thread ---- */

int control_server_start(struct control_server *server, int listener, struct error *err)
{
    *server = (struct control_server){.listener = listener, .agent = -1};
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->wake < 0) {
        return error_set_errno(err, errno, "cannot serve the control socket");
    }
    server->progress.remaining_ns = server->progress.predicted_blackout_ns = UINT64_MAX;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    int failure = pthread_create(&server->thread, NULL, serve, server);
    if (failure) {
        close_fd(&server->wake);
        return error_set_errno(err, failure, "cannot start the control thread");
    }
    return 0;
}

void control_server_progress(struct control_server *server, const struct engine_progress *progress)
{
    pthread_mutex_lock(&server->lock);
    server->progress = *progress;
    server->progress_is_news = true;
    pthread_mutex_unlock(&server->lock);
    eventfd_write(server->wake, 1);
}

enum engine_verdict control_server_ask(struct control_server *server,
                                       enum control_question question, uint64_t age_ns)
{
    pthread_mutex_lock(&server->lock);
    server->question = question;
    server->question_is_news = true;
    server->asked_at_ns = clock_boottime_ns() - age_ns;
    server->answered = false;
    eventfd_write(server->wake, 1);
    while (!server->answered) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    enum engine_verdict answer = server->answer;
    pthread_mutex_unlock(&server->lock);
    return answer;
}

void control_server_result(struct control_server *server, json_t *result)
{
    pthread_mutex_lock(&server->lock);
    server->result = result;
    server->result_is_news = true;
    pthread_mutex_unlock(&server->lock);
    eventfd_write(server->wake, 1);
}

void control_server_finish(struct control_server *server)
{
    pthread_mutex_lock(&server->lock);
    while (!server->ended) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    eventfd_write(server->wake, 1);
    pthread_join(server->thread, NULL);
    json_decref(steal_pointer(&server->result));
    buffer_done(&server->input);
    close_fd(&server->wake);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
}
