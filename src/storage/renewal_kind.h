/*
 * What stands behind renewal_renew(): one function a kind of lease.
 */
#pragma once

#include <stdbool.h>

#include "storage/beat.h"
#include "storage/heartbeat.h"

/* Of kind file: what must stand still before this host may beat, and what became of its beats. */
struct renewal_file {
    struct beat rival;
    bool has_rival;
    uint64_t rival_since;
    bool has_beaten;
    bool has_repaired; /* the last beat replaced a damaged one of ours */
};

/* Of kind sanlock: what the daemon was seen to do. */
struct renewal_sanlock {
    unsigned number; /* in the lockspace; 0: not known yet */
    bool has_tried;  /* to join */
    bool has_looked;
    struct beat beat;   /* as of the last look */
    uint64_t looked_at; /* before it */
    uint64_t proven;    /* before a look that saw an older beat; 0: none yet */
};

struct renewal {
    struct datastore datastore;
    struct heartbeat_clock clock;
    struct disk_heartbeat record; /* who we are; of kind file: as last written, or tried */
    struct renewal_file file;
    struct renewal_sanlock sanlock;
};

uint64_t renewal_now_ns(const struct renewal *renewal);

/* As renewal_renew(), with the datastore's folder open, since `begun`. */
int renewal_file_renew(struct renewal *renewal, int root, uint64_t begun, uint64_t *ret_proven_ns,
                       struct error *err);
int renewal_sanlock_renew(struct renewal *renewal, int root, uint64_t begun,
                          uint64_t *ret_proven_ns, struct error *err);
