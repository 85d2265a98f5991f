/*
 * Agent and mover, over the mover's UNIX socket: JSON, one object a line. An agent may go and
 * another come at any time: on connection the mover repeats the latest progress, an unanswered
 * question, or the result.
 *
 *   mover -> agent  {"event":"progress","phase":"pre-copy","fraction":0.4,"round":2,...}  (struct
 * engine_progress)
 *                   {"event":"question","question":"commit"|"settle","asked_at_ns":...}    waits
 * for an answer, for ever if need be
 *                   {"event":"result","outcome":"moved"|"stayed"|"stranded","error":{...},"statistics":{...}}
 *   agent -> mover  {"command":"cancel"}
 *                   {"command":"answer","owner":"source"|"destination"}
 *                   {"command":"end"}         the result was taken: the mover exits
 *
 * The mover waits for "end" after its result, so that no result is lost with an agent.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* The agent's end of it. */
struct mover_control {
    int fd; /* owned */
    struct buffer input;
};

int mover_control_connect(struct mover_control *control, const char *path, struct error *err);
void mover_control_done(struct mover_control *control);

/* The next line from the mover: 1 and a new reference, 0 after the time limit, negative when the
 * mover is gone. */
int mover_control_next(struct mover_control *control, uint64_t timeout_ns, json_t **ret_event,
                       struct error *err);

/* When a question was asked, by CLOCK_BOOTTIME, which both read on the same host. It goes on while
 * either is stopped, or the whole host is. A time that is missing or cannot be is now. */
uint64_t mover_control_asked_at(const json_t *question);

int mover_control_cancel(struct mover_control *control, struct error *err);
int mover_control_answer(struct mover_control *control, const char *owner, struct error *err);
int mover_control_end(struct mover_control *control, struct error *err);
