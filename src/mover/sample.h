/*
 * A look at how a guest writes its memory while it runs, for the forecast of a move
 * (engine/forecast.h): the mover in its third role, which tracks and looks, and touches nothing.
 *
 * It is told what is worth telling over one connection, and ends by itself:
 *
 *   sample -> agent  {"event":"sample", ...}                 struct engine_sample
 *                    {"event":"failed","error":{...}}
 *   agent -> sample  nothing. When it shuts its end down for writing, the look ends early, with
 *                    what was seen so far; when it hangs up (it died), without a word.
 */
#pragma once

#include <jansson.h>

#include "engine/forecast.h"
#include "engine/tracker.h"
#include "mover/setup.h"

/* In the mover: looks for setup->sample_ns, and tells over `connection`. The guest is untracked
 * afterwards, whatever happened. */
int sample_session_run(const struct mover_setup *setup, int connection, struct error *err);

/* The look itself: points at growing distances, then a few pages' content. The tracker is not
 * tracking before and after. `wait` waits until that moment of CLOCK_MONOTONIC: 1 then, 0 when the
 * look is to end early. */
struct sample_wait {
    int (*until)(void *context, uint64_t moment_ns, struct error *err);
    void *context;
};
int sample_take(struct engine_tracker *tracker, uint64_t duration_ns,
                const struct sample_wait *wait, struct engine_sample *ret_sample,
                struct error *err);

/* Between the two ends. New reference; NULL without memory. */
json_t *sample_encode(const struct engine_sample *sample);

/* Checks everything; ret_sample is written on success only. What the other side told instead of a
 * sample is the error. */
int sample_decode(const json_t *event, struct engine_sample *ret_sample, struct error *err);
