/*
 * VMs that had to end because this host could not prove on their datastore that it lives, and are
 * to run again here when it can, unless another host took them over meanwhile.
 *
 * Each is written down in RUN_FOLDER/restarts/UUID, so that an agent that comes after us knows of
 * it; a reboot of the host forgets it. The mutex is a leaf.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/vm/inventory.h"
#include "base/error.h"

#define RESTARTS_TEXT_SIZE 256

struct agent;
struct restarts;

/* Reads those that an earlier agent wrote down. */
int restarts_new(const struct agent *agent, struct restarts **ret_restarts, struct error *err);

/* The VM has ended; its lease was this host's. */
void restarts_add(struct agent *agent, const struct vm *vm);

/* It is not to be started again by itself: it was started, stopped or removed by somebody. True
 * when it was to be. */
bool restarts_drop(struct agent *agent, const char *uuid);

/* What is to be said of such a VM; false when it is none. */
bool restarts_describe(struct agent *agent, const char *uuid, char text[RESTARTS_TEXT_SIZE]);

/* Starts those of a datastore that can be. From the datastore's thread. */
void restarts_try(struct agent *agent, const struct datastore *datastore);
