/*
 * The machines that run on this host, by the records that the agent keeps of them in
 * RUN_FOLDER/vms. No agent need be alive.
 */
#pragma once

#include <stddef.h>

/* How many machines of a datastore (NULL: of any) run here. */
size_t machines_count(const char *run_folder, const char *datastore_uuid);

/* Kills them, and does not wait; returns how many there were. */
size_t machines_kill(const char *run_folder, const char *datastore_uuid);
