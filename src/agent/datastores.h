/*
 * The datastores of this host: which are there, and whether they answer.
 *
 * Each is looked after by a thread of its own (datastore_watch.h), which opens it when it appears
 * and looks at it several times a second. Whoever wants something of a datastore asks here first:
 * one that is not there, or hangs, is refused at once and by name, and keeps nobody waiting.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "base/error.h"
#include "storage/datastore.h"
#include "storage/heartbeat.h"

struct agent;

/* A configured datastore, open or not. */
struct agent_datastore {
    struct datastore datastore; /* name and path always; the rest once it is open */
    atomic_bool open;           /* never unset: a datastore that goes away has a problem instead */
    atomic_bool settled;        /* what this host's last life left on it was put right */
    _Atomic uint64_t looking_since_ns; /* clock_monotonic_ns(); 0: its thread waits */
    _Atomic uint64_t looks;            /* that have ended */

    struct observer *observer; /* its thread's */

    pthread_mutex_t mutex;           /* a leaf; guards what follows */
    char problem[768];               /* of the last look; empty: it answers */
    struct host_sighting *sightings; /* of the hosts that beat there; owned */
    size_t sighting_count;
};

/* Names and paths from the configuration; none is open yet. */
void datastores_init(struct agent *agent);

/* 0 when it answered lately; otherwise -EHOSTUNREACH, naming it, the reason and what to do. */
int datastores_check(const struct agent *agent, const struct agent_datastore *entry,
                     struct error *err);

/* One that answers: by name, the first one for a NULL name. NULL with err filled. */
const struct datastore *datastores_find(struct agent *agent, const char *name, struct error *err);

/* The entry of a datastore by its UUID; NULL while no open one has it. */
struct agent_datastore *datastores_by_uuid(struct agent *agent, const char *uuid);

/* How a host's beat on the datastore looks from here. A host that has none there is absent. As
 * datastores_check(); -ENOTSUP where no host beats (kind local). */
int datastores_sight(struct agent *agent, const char *uuid, const char *host,
                     struct host_sighting *ret_sighting, struct error *err);

/* The open datastore of that UUID, if it answers. NULL with err filled: `name` is what the caller
 * knows it by. */
const struct datastore *datastores_use(struct agent *agent, const char *uuid, const char *name,
                                       struct error *err);
