/* A host for the guard in a scratch folder: its run folder, and machines that are processes which
 * sleep, recorded as the agent records its own. */
#pragma once

#include "base/process.h"

#define HOST_DATASTORE "5d9c1f0a-0000-4000-8000-00000000d5d5"
#define HOST_OTHER_DATASTORE "5d9c1f0a-0000-4000-8000-0000000000e0"

/* Starts a machine of a datastore; `number` (0 to 9) tells it from the others. */
struct process_identity host_start_machine(const char *run_folder, const char *datastore_uuid,
                                           int number);

/* Records one, whatever runs it. */
void host_record_machine(const char *run_folder, const char *datastore_uuid, int number,
                         const struct process_identity *process);

void host_end_machine(const struct process_identity *machine);
