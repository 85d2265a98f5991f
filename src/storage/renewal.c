/* A host's own beat, whatever the kind of lease: see heartbeat.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/renewal_kind.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES_MOST 64

uint64_t renewal_now_ns(const struct renewal *renewal)
{
    return renewal->clock.now_ns ? renewal->clock.now_ns(renewal->clock.context)
                                 : clock_boottime_ns();
}

static int read_boot_id(disk_uuid ret_boot_id, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = file_read(BOOT_ID_FILE, BOOT_ID_BYTES_MOST, &content, err);
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

int renewal_renew(struct renewal *renewal, uint64_t *ret_proven_ns, struct error *err)
{
    uint64_t begun = renewal_now_ns(renewal);
    CLEANUP_CLOSE int root = datastore_open_root(&renewal->datastore, err);
    if (root < 0) {
        return root;
    }
    return renewal->datastore.lease.kind == LEASE_SANLOCK
               ? renewal_sanlock_renew(renewal, root, begun, ret_proven_ns, err)
               : renewal_file_renew(renewal, root, begun, ret_proven_ns, err);
}
