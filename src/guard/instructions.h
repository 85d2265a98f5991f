/*
 * What the guard shall do, as the agent writes it: RUN_FOLDER/guard/datastores.json, replaced as a
 * whole. There is no other word between the two: neither waits for the other, and either may be
 * restarted at any time.
 *
 *     {"host": "h1", "host_id": "...",
 *      "datastores": [{"name": "shared", "path": "/datastores/shared", "uuid": "..."}]}
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"
#include "base/uuid.h"
#include "storage/vm_config.h"

#define INSTRUCTIONS_FOLDER "guard" /* below the run folder */
#define INSTRUCTIONS_FILE "datastores.json"
#define INSTRUCTIONS_DATASTORES_MOST 16

struct instructions_datastore {
    char name[VM_NAME_SIZE];
    char path[256];
    char uuid[UUID_TEXT_SIZE]; /* what is found at the path must have it */
};

struct instructions {
    char host[VM_NAME_SIZE];
    char host_id[VM_NAME_SIZE]; /* the machine's, whatever it is called (storage/heartbeat.h) */
    struct instructions_datastore datastores[INSTRUCTIONS_DATASTORES_MOST];
    size_t datastore_count;
};

/* Checks the whole document, then fills. Keys that it does not know are the agent's business. */
int instructions_from_json(const json_t *document, const char *what,
                           struct instructions *ret_instructions, struct error *err);

/* Reads them; -ENOENT when no agent ever wrote any. */
int instructions_load(const char *run_folder, struct instructions *ret_instructions,
                      struct error *err);
