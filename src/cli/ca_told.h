/* What the authority's host says about whom it has told of a change. */
#pragma once

#include <jansson.h>

#include "cli/command.h"

/* Names each host that does not know of it yet, and when it will. */
void ca_told_print(const struct cli *cli, const json_t *answer);
