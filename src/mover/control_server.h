/*
 * The mover's end of its control socket: a thread that tells agents how the move stands and takes
 * their orders, while the engine works. control.h has the lines.
 *
 * One agent is served at a time, the one that came last: an older connection is a dead agent's.
 * Locking: `lock` guards all that both threads use; the thread's own connection is outside it.
 * `cancelled` is atomic, since the engine asks often.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "engine/statistics.h"
#include "engine/world.h"

enum control_question { CONTROL_QUESTION_NONE, CONTROL_QUESTION_COMMIT, CONTROL_QUESTION_SETTLE };

struct control_server {
    int listener; /* borrowed */
    int wake;     /* eventfd: the engine's thread has something to tell; owned */
    pthread_t thread;
    atomic_bool cancelled;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* an answer came, or the result was taken */
    struct engine_progress progress;
    bool progress_is_news;
    enum control_question question;
    bool question_is_news;
    uint64_t asked_at_ns; /* CLOCK_BOOTTIME */
    bool answered;
    enum engine_verdict answer;
    json_t *result; /* owned; NULL before there is one */
    bool result_is_news;
    bool ended;

    int agent;           /* the thread's: connected agent, -1 none; owned */
    struct buffer input; /* the thread's: what the agent has sent */
};

/* Starts the thread. On failure nothing is left. */
int control_server_start(struct control_server *server, int listener, struct error *err);

/* Tells the agent, now or when one comes. Never waits. */
void control_server_progress(struct control_server *server, const struct engine_progress *progress);

/* Asks the agent, and waits for its answer as long as it takes. The question came up age_ns ago. */
enum engine_verdict control_server_ask(struct control_server *server,
                                       enum control_question question, uint64_t age_ns);

/* Tells the result (stolen), now or when an agent comes. Never waits. */
void control_server_result(struct control_server *server, json_t *result);

/* Waits until an agent has taken the result; the thread has ended then. */
void control_server_finish(struct control_server *server);
