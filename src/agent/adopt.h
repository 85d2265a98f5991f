/*
 * After a restart of the agent: finds the VMs and movers that an earlier one left, by what is
 * recorded in the run folder, and goes on with them. What died meanwhile is cleaned up. Everything
 * that was done is noted (recoveries.h).
 */
#pragma once

#include "agent/agent.h"

/* Before requests are served. Logs what it cannot put right; that never keeps the agent from
 * running. */
void adopt_all(struct agent *agent);

/* As soon as a datastore answers: gives up the leases of VMs that do not run here, as after a crash
 * of the whole host. Sets entry->settled. */
void adopt_datastore(struct agent *agent, struct agent_datastore *entry);
