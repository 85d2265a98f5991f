/*
 * Looking after datastores: a thread each, so that one that hangs delays no other.
 *
 * A thread opens its datastore when it appears, and puts right what this host's last life left on
 * it. From then on it looks several times a second whether the datastore is still that one and
 * answers, and how other hosts' heartbeats stand; every few seconds it makes sure that the VMs that
 * run here are still this host's, and ends one that is not; and it starts again the VMs that had to
 * end while the datastore was away (restarts.h).
 */
#pragma once

#include "agent/agent.h"

/* Starts the threads and waits until each has looked once, or does not come back in time. */
int datastore_watch_start(struct agent *agent, struct error *err);
