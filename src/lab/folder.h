/*
 * A lab's files: ${DROVER_LAB_FOLDER:-/var/lib/drover-lab}/NAME with a folder for each node and the
 * shared datastore.
 *
 *     NAME/.drover-lab           says that the folder is a lab's, and may be removed
 *     NAME/shared/               the shared datastore; a tmpfs where it was given a size
 *     NAME/h1/etc/               becomes /etc/drover in h1: droverd.json, token
 *     NAME/h1/state/             /var/lib/drover; with the authority and the host's certificate
 *     NAME/client/etc/tls/       an operator's certificate (certificates.h)
 *     NAME/h1/datastores/        /datastores: "local", and "h1-shared" upon which shared is mounted
 *     NAME/h1/droverd.log, drover-guard.log, sanlock.log
 */
#pragma once

#include "lab/registry.h"

/* How the shared datastore keeps its leases, as docs/ownership.md says; what is not given is left
 * to the datastore's defaults. */
struct lab_lease {
    const char *kind;      /* "local", "file" or "sanlock"; NULL: not given */
    unsigned heartbeat_ms; /* 0: times are not given */
    unsigned stop_after_ms;
    unsigned takeover_ms;
};

/* The path for a lab of that name. */
int folder_choose(const char *lab_name, char ret_folder[LAB_PATH_SIZE], struct error *err);

/* Makes the whole tree with every host's configuration. What an earlier lab left is removed; a
 * folder that is no lab's is refused. */
int folder_make(const struct lab *lab, const struct lab_lease *lease, struct error *err);

/* Removes the tree; one that is not there, or no lab's, is left alone. */
int folder_remove(const struct lab *lab, struct error *err);

/* Whether the shared datastore's leases are of kind sanlock, for which hosts run its daemon. */
bool folder_wants_sanlock(const struct lab *lab);
