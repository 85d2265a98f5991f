/*
 * Upkeep of the agent's certificate: asks the authority (the agent of another host, or the folder
 * on this one) once a minute what is trusted and what is revoked, and gets another certificate when
 * two thirds of the present one's life are over, or when a new authority signs.
 *
 * An authority that is not reached stops nobody: the list of revocations that is here stays in
 * force, and a certificate has a third of its life left to be renewed in.
 */
#pragma once

#include "agent/agent.h"

struct upkeep;

/* Starts the thread; nothing to do for a host without TLS or without an authority. */
int upkeep_start(struct agent *agent, struct upkeep **ret_upkeep, struct error *err);

/* Asks the authority now. */
int upkeep_refresh(struct upkeep *upkeep, struct error *err);

/* Gets another certificate now. */
int upkeep_renew(struct upkeep *upkeep, struct error *err);
