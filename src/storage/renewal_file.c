/*
 * A host's own beat in a file: see heartbeat.h.
 *
 * Before it writes, a host reads what is in its place. What this run of this machine wrote is its
 * own, whatever process did (drover-guard may be started anew). Anything else is another machine's,
 * or of its own life before a reboot, which cannot be told apart for sure (a machine that was
 * cloned has the same identity): it must stand still for takeover_ns first. A machine that finds
 * another's beat in place of its own stops beating in the same way, so of two machines of one name
 * at most one beats. A damaged beat is written anew once; a place that does not keep what is
 * written there is no place to beat.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "storage/renewal_kind.h"

/* ---- whose beat is there ---- */

static bool is_ours(const struct renewal *renewal, const struct beat *found,
                    const struct disk_heartbeat *record)
{
    return found->valid && strcmp(record->host_id, renewal->record.host_id) == 0 &&
           strcmp(record->boot_id, renewal->record.boot_id) == 0;
}

static int refuse_rival(const struct renewal *renewal, const struct beat *found,
                        const struct disk_heartbeat *record, uint64_t left_ns, struct error *err)
{
    char left[32];
    const char *host = renewal->record.host;
    units_format_duration(left_ns, left, sizeof(left));
    if (!found->valid) {
        return error_set(err, EBUSY,
                         "the heartbeat of host %s on datastore %s is damaged: should another "
                         "machine write it, that is known in %s",
                         host, renewal->datastore.name, left);
    }
    if (strcmp(record->host_id, renewal->record.host_id) == 0) {
        return error_set(err, EBUSY,
                         "host %s beat on datastore %s before it was booted: should a copy of it "
                         "still run, that is known in %s",
                         host, renewal->datastore.name, left);
    }
    error_set(err, EBUSY, "another machine (%s) beats as host %s on datastore %s", record->host_id,
              host, renewal->datastore.name);
    return error_remedy(err,
                        "give one of them another name; if the other one is gone for good, this "
                        "one goes on in %s",
                        left);
}

/* Whether the beat that was found may be replaced at once. */
static bool may_replace(struct renewal *renewal, const struct beat *found,
                        const struct disk_heartbeat *record)
{
    bool ours = is_ours(renewal, found, record);
    bool repaired = renewal->file.has_repaired;
    renewal->file.has_repaired = !found->valid && renewal->file.has_beaten && !repaired;
    return ours || renewal->file.has_repaired;
}

/* Lets a beat that is not ours stand still for takeover_ns. As an observer does, it counts from
 * after the look that saw it first. */
static int check_rival(struct renewal *renewal, const struct beat *found,
                       const struct disk_heartbeat *record, uint64_t looked_at, struct error *err)
{
    uint64_t patience = renewal->datastore.lease.takeover_ns;
    if (may_replace(renewal, found, record)) {
        return 0;
    }
    if (!renewal->file.has_rival ||
        memcmp(renewal->file.rival.bytes, found->bytes, sizeof(found->bytes)) != 0) {
        renewal->file.has_rival = true;
        renewal->file.rival = *found;
        renewal->file.rival_since = renewal_now_ns(renewal);
    }
    uint64_t still =
        looked_at > renewal->file.rival_since ? looked_at - renewal->file.rival_since : 0;
    return still >= patience ? 0 : refuse_rival(renewal, found, record, patience - still, err);
}

/* ---- the beat ---- */

static int write_beat(struct renewal *renewal, int fd, struct error *err)
{
    uint8_t bytes[DISK_RECORD_SIZE];
    struct stat status;
    renewal->record.counter++;
    renewal->record.written_at = clock_realtime_ns();
    disk_heartbeat_encode(&renewal->record, bytes);
    ssize_t written = pwrite(fd, bytes, sizeof(bytes), 0);
    if (written != (ssize_t)sizeof(bytes) || fdatasync(fd) < 0) {
        return error_set_errno(err, written < 0 || written == (ssize_t)sizeof(bytes) ? errno : EIO,
                               "cannot write the heartbeat of host %s on datastore %s",
                               renewal->record.host, renewal->datastore.name);
    }
    if (fstat(fd, &status) < 0 || status.st_nlink == 0) {
        return error_set(err, ESTALE, "the heartbeat of host %s on datastore %s was removed",
                         renewal->record.host, renewal->datastore.name);
    }
    renewal->file.has_rival = false;
    renewal->file.has_beaten = true;
    return 0;
}

static int beat_in_place(struct renewal *renewal, int fd, uint64_t looked_at, struct error *err)
{
    struct beat found;
    struct disk_heartbeat record = {0};
    int result =
        beat_file_read(&renewal->datastore, fd, renewal->record.host, &found, &record, err);
    if (result == 0) {
        result = check_rival(renewal, &found, &record, looked_at, err);
    }
    return result < 0 ? result : write_beat(renewal, fd, err);
}

int renewal_file_renew(struct renewal *renewal, int root, uint64_t begun, uint64_t *ret_proven_ns,
                       struct error *err)
{
    const struct datastore *datastore = &renewal->datastore;
    CLEANUP_CLOSE int fd = beat_file_open(datastore, root, renewal->record.host, O_RDWR, err);
    int result;
    if (fd == -ENOENT) {
        fd = beat_file_create(datastore, root, renewal->record.host, err);
        result = fd < 0 ? fd : write_beat(renewal, fd, err);
    } else {
        result = fd < 0 ? fd : beat_in_place(renewal, fd, begun, err);
    }
    if (result == 0) {
        *ret_proven_ns = begun;
    }
    return result;
}
