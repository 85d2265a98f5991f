/* A move's figures as the JSON of control.h: keys are the structs' member names, times in ns. */
#pragma once

#include <jansson.h>

#include "engine/destination.h"
#include "engine/source.h"
#include "mover/secure_channel.h"

/* {"event":"progress", ...}; null where nobody can tell. New references, all of these. */
json_t *report_progress(const struct engine_progress *progress);

/* {"event":"result", ...}; `err` says why it stayed or is stranded. */
json_t *report_result(enum engine_outcome outcome, const struct error *err, json_t *statistics);

/* With the options that the move was made with. */
json_t *report_source_statistics(const struct engine_statistics *statistics,
                                 const struct engine_source_options *options);
json_t *report_destination_statistics(const struct engine_destination_statistics *statistics);

/* Adds a moment (CLOCK_MONOTONIC; 0: it did not come) to statistics as `key`, on CLOCK_REALTIME:
 * the two sides' moments can be compared as well as the two hosts' clocks agree. */
void report_add_moment(json_t *statistics, const char *key, uint64_t monotonic_ns);

/* Adds how the channels were protected: "encryption" ("tls13" or "none"), "encryption_by" ("kernel"
 * or "openssl") and "cipher", null without encryption. */
void report_add_encryption(json_t *statistics, const struct secure_channel_facts *facts);
