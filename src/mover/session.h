/*
 * One side of one move, from setup to result: puts guest, channel, clock and agent together and
 * lets the engine run.
 */
#pragma once

#include <jansson.h>

#include "base/secure_stream.h"
#include "engine/world.h"
#include "mover/control_server.h"
#include "mover/setup.h"

/* Both return how the move ended, with *ret_statistics (a new reference) for the agent; err says
 * why it stayed. The caller serves the agent. `context` is of the move's channels; NULL: they are
 * not encrypted. */
enum engine_outcome source_session_run(const struct mover_setup *setup,
                                       struct secure_context *context,
                                       struct control_server *server, json_t **ret_statistics,
                                       struct error *err);
enum engine_outcome destination_session_run(const struct mover_setup *setup,
                                            struct secure_context *context,
                                            struct control_server *server, json_t **ret_statistics,
                                            struct error *err);

/* What keys the move's channels, out of the setup, which keeps no key: *ret_context is NULL when
 * they are not to be encrypted. */
int session_take_key(struct mover_setup *setup, struct secure_context **ret_context,
                     struct error *err);

/* What both sides give the engine. */
struct engine_clock session_clock(void);
bool session_cancelled(void *server);
