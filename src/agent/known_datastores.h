/*
 * The datastores that this host has seen, in STATE_FOLDER/datastores/NAME. One that was seen is not
 * made again: should its path hold nothing, it is not mounted (yet), and what is made below a mount
 * point would vanish with the mount.
 */
#pragma once

#include "agent/config.h"
#include "storage/datastore.h"

/* Opens it; makes one of the folder only where none by this name was ever seen at this path. A
 * datastore that was replaced by another one is accepted. */
int known_datastores_open(const struct agent_config *config, const char *name, const char *path,
                          struct datastore *ret_datastore, struct error *err);
