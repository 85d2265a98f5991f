/* A migration between the command line and the API: its request, and its answers as people read
 * them. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "cli/arguments.h"
#include "cli/terminal.h"

/* The request that the command line makes, checked: a new reference. What the operator left out
 * is the agent's to choose. */
int migration_request(const struct arguments *arguments, json_t **ret_request, struct error *err);

/* Whether a dry run's checks block the move: 1 or 0, or -EPROTO for an answer that names none. A
 * level that is not understood blocks: nobody should move a VM on a guess. */
int migration_is_blocked(const json_t *answer, struct error *err);

/* Prints the checks, OK, WARN or BLOCK each with its remedy, the forecast, and the verdict. */
void migration_print_checks(const struct terminal *terminal, const json_t *answer, const char *vm,
                            const char *to);

/* Prints a forecast, or why there is none; nothing for null. */
void migration_print_forecast(const struct terminal *terminal, const json_t *forecast,
                              const char *vm, const char *to);

/* Prints a report's forecast beside what came of it; nothing without one. 0 or -ENOMEM. */
int migration_print_accuracy(const struct terminal *terminal, const json_t *report);

/* Prints the report of a migration, by round. 0 or -ENOMEM. */
int migration_print_report(const struct terminal *terminal, const json_t *task, struct error *err);
