/* The forecast of a move as the API has it ("Forecast" in docs/api.md): a look at the guest, the
 * link's rate and the options, put together. */
#pragma once

#include <jansson.h>

#include "agent/agent.h"
#include "agent/move/link_rate.h"
#include "agent/move/migrate_options.h"

/* Looks at the VM for about two seconds, unless it does not run or cannot be tracked. New
 * reference, also when there is no forecast: then "problem" says why. */
json_t *forecast_make(struct agent *agent, const struct vm *vm,
                      const struct migrate_options *options);

/* The forecast from a sample. A pure function; NULL without memory. */
json_t *forecast_to_json(const struct engine_sample *sample, const struct link_rate *link,
                         const struct migrate_options *options);

/* Without one: "problem" says why. */
json_t *forecast_missing(const struct error *err);

/* Adds to a list of CHECKs what of the move's targets the forecast does not keep. A pure function.
 */
void forecast_check(const json_t *forecast, const struct migrate_options *options, json_t *checks);
