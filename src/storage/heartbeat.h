/*
 * Heartbeats: how a host proves on a datastore that it lives, and how others judge whether it does.
 *
 * Theory of operation. A host's beat is a record on the datastore that it rewrites every
 * heartbeat_ns (struct lease_settings). Two rules keep a VM from running twice:
 *
 *   - The host may run VMs of the datastore until `proven` + stop_after_ns, where `proven` is an
 *     instant before its last beat could be seen by anybody. drover-guard sees to that.
 *   - Whoever wants to take its VMs over must have seen the same beat, unchanged, for at least
 *     takeover_ns: from *after* a look that saw it to *before* a later look that saw it still.
 *
 * Each side measures durations with its own CLOCK_BOOTTIME (it goes on while a host is suspended),
 * so no clock need agree with another; takeover_ns is longer than stop_after_ns by a second or
 * more, for the time that ending a process takes and for clocks that do not run equally fast. Looks
 * that failed, or never took place, prove nothing: neither that the host beat, nor that it did not,
 * and do no harm, since a beat never comes back once it has changed.
 *
 * Where the record is: of kind file, 512 bytes with a checksum in DATASTORE/.drover/hosts/HOST,
 * rewritten in place, so that it goes on when the datastore is full. Of kind sanlock, the host's
 * sector of the lockspace, which the sanlock daemon rewrites. Of kind local there are no beats.
 *
 * Judging by a counter that stands still, not by a time stamp, is an old idea of cluster file
 * systems: OCFS2's disk heartbeat (fs/ocfs2/cluster/heartbeat.c) and sanlock's delta leases
 * (Chockler and Malkhi, "Light-Weight Leases for Storage-Centric Coordination").
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "storage/datastore.h"

/* Time as the functions below see it; NULL in its place is CLOCK_BOOTTIME. */
struct heartbeat_clock {
    uint64_t (*now_ns)(void *context);
    void *context;
};

/* ---- a host's own beat ---- */

struct renewal;

/* Prepares to beat as `host`; nothing is read or written yet. `host_id` is what the machine is
 * known by, whatever its name (1 to 63 of [A-Za-z0-9._-]): another machine of the same name must
 * have another one. -EINVAL for a datastore of kind local. `clock` may be NULL. */
int renewal_open(const struct datastore *datastore, const char *host, const char *host_id,
                 const struct heartbeat_clock *clock, struct renewal **ret_renewal,
                 struct error *err);

/* Beats. Blocks for as long as the storage does. On success a new beat is durably on the datastore,
 * and ret_proven_ns is the instant from which stop_after_ns counts. The datastore is opened by its
 * path and identified each time. Errors, after each of which the next call tries again:
 *   -EBUSY   another machine beats under this name, or did so a moment ago
 *   -EAGAIN  kind sanlock: the daemon has not renewed since the last call
 *   -ESTALE  another datastore, or none, is under the path, or its lease settings were changed
 *   others   what the storage said. */
int renewal_renew(struct renewal *renewal, uint64_t *ret_proven_ns, struct error *err);

/* Stops beating: others will see this host stand still. NULL is allowed. */
void renewal_close(struct renewal *renewal);

/* ---- other hosts' beats ---- */

enum host_health {
    HOST_UNKNOWN, /* seen too briefly to tell */
    HOST_ALIVE,   /* its beat changed lately */
    HOST_SILENT,  /* its beat stands still, but not for takeover_ns yet */
    HOST_DEAD,    /* it stood still for takeover_ns: its VMs have been stopped */
    HOST_ABSENT,  /* it has no beat there, but may get one: not dead yet either */
};

struct host_sighting {
    char host[VM_NAME_SIZE];
    enum host_health health;
    uint64_t still_ns; /* for so long at least its beat has not changed, as seen from here */
};

struct observer;

/* Begins to observe the hosts of one datastore. Not to be used by two threads at once. -EINVAL for
 * a datastore of kind local. `clock` may be NULL. */
int observer_open(const struct datastore *datastore, const struct heartbeat_clock *clock,
                  struct observer **ret_observer, struct error *err);
void observer_close(struct observer *observer);

/* Looks at one host's beat. Look every heartbeat_ns or so: the first look starts the time. A beat
 * that is missing or unreadable counts as one that stands still, for its host would have rewritten
 * it. Errors: the storage's, -ESTALE; they change no judgement. */
int observer_look(struct observer *observer, const char *host, struct host_sighting *ret_sighting,
                  struct error *err);

/* Looks at all hosts that ever beat there, or were asked for, in the order of their names. Freed
 * with free(). */
int observer_look_all(struct observer *observer, struct host_sighting **ret_sightings,
                      size_t *ret_count, struct error *err);

/* "unknown", "alive", "silent", "dead", "absent". */
const char *host_health_name(enum host_health health);
