/*
 * A host's own beat in a sanlock lockspace: see heartbeat.h.
 *
 * The daemon renews; what is done here is to see that it does. A look that finds its sector changed
 * proves that it was written after the look before: that is the instant from which stop_after_ns
 * counts. Nothing depends on the daemon's own clock or word, and a daemon that is killed, hangs, or
 * lost its storage shows in the sector as it shows to other hosts.
 */
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "storage/lockspace.h"
#include "storage/renewal_kind.h"

#define HEARTBEATS_LATE 3 /* after so many without a renewal the daemon is said to be late */

/* Joining takes the daemon some seconds; one that was joining and is not in has failed. */
static int join(struct renewal *renewal, int root, struct error *err)
{
    const struct datastore *datastore = &renewal->datastore;
    const char *host = renewal->record.host;
    bool has_failed = renewal->sanlock.has_tried;
    renewal->sanlock = (struct renewal_sanlock){.number = renewal->sanlock.number};
    int result = lockspace_join(datastore, root, renewal->sanlock.number, err);
    if (result < 0) {
        return result;
    }
    renewal->sanlock.has_tried = true;
    if (!has_failed) {
        return error_set(err, EAGAIN, "host %s is joining the lockspace of datastore %s", host,
                         datastore->name);
    }
    error_set(err, EBUSY,
              "the sanlock daemon cannot join the lockspace of datastore %s as number %u of host "
              "%s: another machine of that name is in it, or the storage does not answer",
              datastore->name, renewal->sanlock.number, host);
    return error_remedy(err, "see: sanlock client log_dump");
}

static int check_late(const struct renewal *renewal, uint64_t begun, struct error *err)
{
    char since[32];
    const struct datastore *datastore = &renewal->datastore;
    uint64_t proven = renewal->sanlock.proven;
    if (proven == 0) {
        return error_set(err, EAGAIN,
                         "the sanlock daemon was not seen yet to renew on datastore %s",
                         datastore->name);
    }
    if (begun - proven <= HEARTBEATS_LATE * datastore->lease.heartbeat_ns) {
        return 0;
    }
    units_format_duration(begun - proven, since, sizeof(since));
    return error_set(err, EAGAIN, "the sanlock daemon has not renewed on datastore %s for %s",
                     datastore->name, since);
}

static void take_in(struct renewal_sanlock *seen, const struct beat *beat, uint64_t begun)
{
    bool changed =
        seen->has_looked && memcmp(beat->bytes, seen->beat.bytes, sizeof(beat->bytes)) != 0;
    seen->proven = changed ? seen->looked_at : seen->proven;
    seen->has_looked = true;
    seen->beat = *beat;
    seen->looked_at = begun;
}

int renewal_sanlock_renew(struct renewal *renewal, int root, uint64_t begun,
                          uint64_t *ret_proven_ns, struct error *err)
{
    const struct datastore *datastore = &renewal->datastore;
    struct renewal_sanlock *seen = &renewal->sanlock;
    struct beat beat;
    int result = seen->number > 0 ? 0
                                  : lockspace_number(datastore, root, renewal->record.host, true,
                                                     &seen->number, err);
    if (result < 0) {
        return result;
    }
    result = lockspace_check(datastore, seen->number, err);
    if (result < 0) {
        return result == -ENOENT ? join(renewal, root, err) : result;
    }
    seen->has_tried = false;
    result = lockspace_read(datastore, root, seen->number, &beat, err);
    if (result < 0) {
        return result;
    }
    take_in(seen, &beat, begun);
    result = check_late(renewal, begun, err);
    if (result == 0) {
        *ret_proven_ns = seen->proven;
    }
    return result;
}
