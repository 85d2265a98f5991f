/*
 * How a datastore keeps its leases: the kind, and the times in which a host must prove that it
 * lives. They belong to the datastore, not to a host, so they stand in its drover-datastore.json:
 *
 *   "lease": {"kind": "file", "heartbeat_ms": 500, "stop_after_ms": 4000, "takeover_ms": 7000}
 *
 * All keys may be missing; those of "file" above are the defaults. docs/ownership.md says what the
 * times mean for whoever sets them.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum lease_kind {
    LEASE_LOCAL,   /* one host sees the datastore: epochs, no heartbeats, no deadline */
    LEASE_FILE,    /* any shared file system */
    LEASE_SANLOCK, /* disk Paxos; heartbeats are the sanlock daemon's */
};

/* Times are 0 for LEASE_LOCAL. */
struct lease_settings {
    enum lease_kind kind;
    uint64_t heartbeat_ns;  /* from one renewal to the next */
    uint64_t stop_after_ns; /* a host that could not renew for so long has stopped its VMs */
    uint64_t takeover_ns;   /* another may take them over when it saw no heartbeat for so long */
};

/* The settings of a datastore's marker, `what` in errors: reads its key "lease", checks that the
 * times leave room between each other. */
int lease_settings_from_json(const json_t *marker, const char *what,
                             struct lease_settings *ret_settings, struct error *err);

/* The value of "lease", complete. New reference. */
json_t *lease_settings_to_json(const struct lease_settings *settings);

bool lease_settings_equal(const struct lease_settings *left, const struct lease_settings *right);

/* "local", "file", "sanlock". */
const char *lease_kind_name(enum lease_kind kind);
