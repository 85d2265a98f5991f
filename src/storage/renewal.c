/*
 * A host's own beat: see heartbeat.h.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/units.h"
#include "storage/beat.h"
#include "storage/heartbeat.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

struct renewal {
    struct datastore datastore;
    struct heartbeat_clock clock;
    struct disk_heartbeat record; /* as last written, or tried */
    struct beat rival;            /* what was found in its place */
    bool has_rival;
    uint64_t rival_since;
    bool has_beaten;
    bool has_repaired; /* the last beat replaced a damaged one of ours */
};

static uint64_t now_ns(const struct renewal *renewal)
{
    return renewal->clock.now_ns ? renewal->clock.now_ns(renewal->clock.context)
                                 : clock_boottime_ns();
}

static int read_boot_id(disk_uuid ret_boot_id, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = file_read(BOOT_ID_FILE, 2 * UUID_TEXT_SIZE, &content, err);
    if (result < 0) {
        return result;
    }
    snprintf(ret_boot_id, UUID_TEXT_SIZE, "%s", (const char *)content.data);
    return uuid_is_valid(ret_boot_id) ? 0 : error_set(err, EINVAL, BOOT_ID_FILE " holds no UUID");
}

static int check_names(const struct datastore *datastore, const char *host, const char *host_id,
                       struct error *err)
{
    if (!file_name_is_safe(host) || !file_name_is_safe(host_id)) {
        return error_set(err, EINVAL, "\"%.80s\" with the identity \"%.80s\" cannot be a host",
                         host, host_id);
    }
    if (datastore->lease.kind == LEASE_LOCAL) {
        return error_set(err, EINVAL, "datastore %s has leases of kind local: no host beats there",
                         datastore->name);
    }
    return 0;
}

int renewal_open(const struct datastore *datastore, const char *host, const char *host_id,
                 const struct heartbeat_clock *clock, struct renewal **ret_renewal,
                 struct error *err)
{
    disk_uuid boot_id;
    int result = check_names(datastore, host, host_id, err);
    if (result < 0 || (result = read_boot_id(boot_id, err)) < 0) {
        return result;
    }
    struct renewal *renewal = calloc(1, sizeof(*renewal));
    if (!renewal) {
        return error_set_errno(err, ENOMEM, "host %s cannot beat on datastore %s", host,
                               datastore->name);
    }
    renewal->datastore = *datastore;
    renewal->clock = clock ? *clock : (struct heartbeat_clock){0};
    snprintf(renewal->record.datastore, sizeof(disk_uuid), "%s", datastore->uuid);
    snprintf(renewal->record.host, sizeof(disk_name), "%s", host);
    snprintf(renewal->record.host_id, sizeof(disk_name), "%s", host_id);
    memcpy(renewal->record.boot_id, boot_id, sizeof(disk_uuid));
    uuid_generate(renewal->record.beater);
    *ret_renewal = renewal;
    return 0;
}

void renewal_close(struct renewal *renewal)
{
    free(renewal);
}

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
    bool repaired = renewal->has_repaired;
    renewal->has_repaired = !found->valid && renewal->has_beaten && !repaired;
    return ours || renewal->has_repaired;
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
    if (!renewal->has_rival ||
        memcmp(renewal->rival.bytes, found->bytes, sizeof(found->bytes)) != 0) {
        renewal->has_rival = true;
        renewal->rival = *found;
        renewal->rival_since = now_ns(renewal);
    }
    uint64_t still = looked_at > renewal->rival_since ? looked_at - renewal->rival_since : 0;
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
    renewal->has_rival = false;
    renewal->has_beaten = true;
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

int renewal_renew(struct renewal *renewal, uint64_t *ret_proven_ns, struct error *err)
{
    uint64_t begun = now_ns(renewal);
    const struct datastore *datastore = &renewal->datastore;
    CLEANUP_CLOSE int root = datastore_open_root(datastore, err);
    if (root < 0) {
        return root;
    }
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
