/*
 * The checks before a move: can this VM run there, and can it be moved at all? Pure functions from
 * facts to a list of CHECK objects (docs/api.md): every reason at once, each with its remedy.
 *
 * The source calls checks_of_source() with what it knows of the VM; whoever knows both hosts calls
 * checks_of_destination(): the destination itself, in answer to POST /v1/incoming/check, with
 * `source` from the request and `destination` its own facts. What a peer said is read with care: a
 * fact that is missing or of the wrong type blocks, by name.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/move/migrate_options.h"
#include "base/error.h"
#include "storage/vm_config.h"

struct checks_move {
    const struct vm_config *config;
    const char *vm_state;       /* as in the API: "running", ... */
    const char *accelerator;    /* that the VM runs with: "tcg" or "kvm" */
    const char *datastore_name; /* at the source; may be NULL: only its UUID is known */
    const char *datastore_uuid; /* where the VM's folder is */
    enum migrate_engine engine; /* as asked for */
    const char *vm_obstacle;    /* why Drover's engine cannot move this VM, whatever the host can;
                                   NULL: it can */
    uint64_t blackout_ms;       /* target */
    uint64_t timeout_s;         /* 0: none */
    bool stop_at_timeout;       /* then it moves with a longer blackout */
    const json_t *source;       /* {"name", "capabilities", "migration_encryption"}, more of GET
                                   /v1/host is welcome */
    const json_t *destination;  /* as GET /v1/host */
    const json_t
        *destination_vms; /* the VMs of GET /v1/vms: "name", "uuid", "state", "datastore" */
};

/* What the source can tell: state, devices, engine, blackout target, time limit, destination is
 * another host (only `destination`'s "name" is read). New reference to an array of CHECKs; NULL
 * without memory.
 */
json_t *checks_of_source(const struct checks_move *move);

/* What takes both hosts' facts: machine type, QEMU, accelerator, CPU, engine, encryption, memory,
 * datastore, port groups, names. `vm_state` and `blackout_ms` are not read. New reference as above.
 */
json_t *checks_of_destination(const struct checks_move *move);

/* The worst level in the list: "ok", "warn" or "block"; a malformed list blocks. */
const char *checks_verdict(const json_t *checks);

/* The first CHECK that blocks, as an error (ENOTSUP); 0 when none does. */
int checks_to_error(const json_t *checks, struct error *err);
