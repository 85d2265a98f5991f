/*
 * Upkeep of the agent's certificate: asks the authority (the agent of another host, or the folder
 * on this one) once a minute what is trusted and what is revoked, and gets another certificate when
 * two thirds of the present one's life are over, or when a new authority signs. A folder that
 * somebody else changed is loaded within a second.
 *
 * An authority that is not reached stops nobody: the list of revocations that is here stays in
 * force, and a certificate has a third of its life left to be renewed in.
 */
#pragma once

#include "agent/agent.h"

struct upkeep;

/* Starts the thread. */
int upkeep_start(struct agent *agent, struct upkeep **ret_upkeep, struct error *err);

/* Has the authority asked now, and waits for the answer: one question serves all who come before it
 * goes out. -EBUSY when too many wait already; -ENOTSUP, as below, without an authority. */
int upkeep_refresh(struct upkeep *upkeep, struct error *err);

/* Gets another certificate now. */
int upkeep_renew(struct upkeep *upkeep, struct error *err);
