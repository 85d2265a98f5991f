/* One call to all peers at once: what an authority changed counts when they know it. */
#pragma once

#include <jansson.h>

#include "agent/agent.h"

/* POSTs `path` to all peers but `except` (may be NULL), several at a time, each within a few
 * seconds. {"told": [HOST...], "not_told": [{"host", "reason"}...]}; NULL without memory. */
json_t *tell_peers(struct agent *agent, const char *path, const char *except);
