/* What a host tells of itself: GET /v1/host, and one side of the checks before a move. */
#pragma once

#include <jansson.h>

#include "agent/agent.h"
#include "base/error.h"

/* New reference; NULL with err filled. */
json_t *host_facts(struct agent *agent, struct error *err);

/* That part of it which the checks before a move read of a source: name, capabilities, port groups,
 * encryption. New reference; NULL without memory. */
json_t *host_facts_of_source(const struct agent *agent);
