/* The hosts' agents and guards: told to start and end through the node's init; agents are asked
 * through their API. */
#pragma once

#include <jansson.h>

#include "lab/node.h"
#include "lab/registry.h"

/* The droverd and drover-guard that belong to this program: beside it, in the build tree, or in
 * PATH. */
int agent_find_programs(struct lab_programs *ret_programs, struct error *err);

/* Has the node's init do something with a service (init.h); *ret_answer (may be NULL) is a new
 * reference to the answer. */
int agent_control(const struct lab *lab, const struct lab_node *node, const char *service,
                  const char *action, json_t **ret_answer, struct error *err);

/* Starts the node's guard and agent, and what they need; does not wait for them. */
int agent_start(const struct lab *lab, const struct lab_node *node, struct error *err);

/* GET `path` of the node's agent, through its socket; a new reference. -ECONNREFUSED when it does
 * not answer. */
int agent_get(const struct lab_node *node, const char *path, json_t **ret_answer,
              struct error *err);

/* Waits until the agent answers; an error when it ends instead, with the last lines of its log.
 * `give_up` (may be -1) is a descriptor that becomes readable when the user has had enough. */
int agent_wait_until_ready(const struct lab *lab, const struct lab_node *node, int give_up,
                           struct error *err);

/* Waits until a service no longer runs. */
int agent_wait_until_stopped(const struct lab *lab, const struct lab_node *node,
                             const char *service, struct error *err);
