/*
 * After a restart of the agent: finds the VMs and movers that an earlier one left, by what is
 * recorded in the run folder, and goes on with them. What died meanwhile is cleaned up.
 */
#pragma once

#include "agent/agent.h"

/* Before requests are served. Logs what it cannot put right; that never keeps the agent from
 * running. */
void adopt_all(struct agent *agent);
