/* Both hosts' checks before a move, put together. */
#pragma once

#include <jansson.h>

#include "agent/agent.h"
#include "agent/move/engine_choice.h"
#include "agent/move/migrate_source.h"

/* What the source asks of POST /v1/incoming/check and begins POST /v1/incoming with. New reference;
 * NULL without memory. */
json_t *migrate_request(const struct agent *agent, const struct vm *vm, bool native);

/* The engine that the checks found. */
void migrate_choose_engine(const struct agent *agent, const struct vm *vm,
                           const struct migrate_options *options, struct engine_choice *ret_choice);

/* The source's checks, and the destination's when it can be asked: *ret_checks is a new array. */
int migrate_checks(struct agent *agent, const struct vm *vm, const struct config_peer *peer,
                   const struct migrate_options *options, json_t **ret_checks, struct error *err);

/* {"verdict", "checks"}; takes the reference. */
json_t *migrate_verdict(json_t *checks);

/* Everything that blocks, in one error (ENOTSUP) that is yet to say which VM it is and where it
 * stays; 0 when nothing does. */
int migrate_refuse(const char *to, const json_t *checks, struct error *err);

/* The peer of that name; NULL with err filled. */
const struct config_peer *migrate_peer(const struct agent *agent, const char *to,
                                       struct error *err);
