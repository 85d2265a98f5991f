/* The figures of a move: rounds for the report, fraction and estimates for the progress line. */
#pragma once

#include "engine/source_internal.h"

/* A round begins; what the last round left open is recorded. */
void source_round_open(struct source *source);
/* The open round goes into the statistics; nothing when there is none. */
void source_round_record(struct source *source);

/* The phase changed: told at once. */
void source_progress_phase(struct source *source, enum engine_phase phase);
/* Takes a sample of the rate, and tells the observer, at most ten times a second. */
void source_progress_sample(struct source *source);
/* The channel was empty, or is now: exact moments for the rate. */
void source_rate_resume(struct source *source);
void source_rate_finish(struct source *source);

/* How fast the guest's pages are carried, bytes of their content a second (0: unknown), and how
 * long so many take (UINT64_MAX: unknown): the link's rate, and what packing made of pages lately.
 */
uint64_t source_content_rate(const struct source *source);
uint64_t source_content_ns(const struct source *source, uint64_t bytes);

/* The blackout if it switched over now; UINT64_MAX while there is no telling. */
uint64_t source_predict_blackout(const struct source *source);

/* Bytes that the guest is expected to dirty within so long. */
uint64_t source_predict_dirtied(const struct source *source, uint64_t duration_ns);

/* Fills err: pre-copy took longer than allowed, and why. Returns -ETIMEDOUT. */
int source_timeout_error(const struct source *source, struct error *err);
