/* A VM as the API shows it. */
#pragma once

#include <jansson.h>

#include "agent/agent.h"

/* New reference. */
json_t *vm_to_json(struct agent *agent, const struct vm *vm);
