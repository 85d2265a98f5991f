/*
 * What tells this machine from every other one, whatever it is called: two that were given the same
 * name by mistake must not prove each other's life on a datastore. Made once, and kept in
 * STATE_FOLDER/host_id.
 */
#pragma once

#include "agent/config.h"
#include "base/error.h"
#include "base/uuid.h"

/* Reads it, or makes it when there is none yet. */
int host_id_load(const struct agent_config *config, char ret_id[UUID_TEXT_SIZE], struct error *err);
