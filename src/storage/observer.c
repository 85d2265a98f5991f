/* Other hosts' beats: see heartbeat.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/beat.h"
#include "storage/heartbeat.h"
#include "storage/lockspace.h"

#define HEARTBEATS_MISSED 4 /* a host that missed so many is silent */

/* What is remembered of a host. */
struct observed {
    char host[VM_NAME_SIZE];
    unsigned number;  /* of kind sanlock: in the lockspace; 0: not known */
    struct beat beat; /* the last valid one; none: not valid */
    bool looked;      /* there was a look */
    bool present;     /* as of the last look */
    bool moved;       /* it was seen to change */
    uint64_t since;   /* taken after the look that saw this beat, or its lack, first */
};

struct observer {
    struct datastore datastore;
    struct heartbeat_clock clock;
    struct observed *hosts; /* in the order of their names */
    size_t count;
};

static uint64_t now_ns(const struct observer *observer)
{
    return observer->clock.now_ns ? observer->clock.now_ns(observer->clock.context)
                                  : clock_boottime_ns();
}

int observer_open(const struct datastore *datastore, const struct heartbeat_clock *clock,
                  struct observer **ret_observer, struct error *err)
{
    if (datastore->lease.kind == LEASE_LOCAL) {
        return error_set(err, EINVAL, "datastore %s has leases of kind local: no host beats there",
                         datastore->name);
    }
    struct observer *observer = calloc(1, sizeof(*observer));
    if (!observer) {
        return error_set_errno(err, ENOMEM, "cannot observe the hosts of datastore %s",
                               datastore->name);
    }
    observer->datastore = *datastore;
    observer->clock = clock ? *clock : (struct heartbeat_clock){0};
    *ret_observer = observer;
    return 0;
}

void observer_close(struct observer *observer)
{
    if (observer) {
        free(observer->hosts);
        free(observer);
    }
}

/* ---- what is remembered ---- */

/* The place of a host in the order; *ret_found when it is there already. */
static size_t place_of(const struct observer *observer, const char *host, bool *ret_found)
{
    size_t i = 0;
    while (i < observer->count && strcmp(observer->hosts[i].host, host) < 0) {
        i++;
    }
    *ret_found = i < observer->count && strcmp(observer->hosts[i].host, host) == 0;
    return i;
}

static struct observed *remember(struct observer *observer, const char *host, struct error *err)
{
    bool found;
    size_t place = place_of(observer, host, &found);
    if (found) {
        return &observer->hosts[place];
    }
    struct observed *hosts =
        reallocarray(observer->hosts, observer->count + 1, sizeof(*observer->hosts));
    if (!hosts) {
        error_set_errno(err, ENOMEM, "cannot observe host %s", host);
        return NULL;
    }
    memmove(&hosts[place + 1], &hosts[place], (observer->count - place) * sizeof(*hosts));
    hosts[place] = (struct observed){.looked = false};
    snprintf(hosts[place].host, sizeof(hosts[place].host), "%s", host);
    observer->hosts = hosts;
    observer->count++;
    return &hosts[place];
}

/* ---- a look ---- */

static void take_in(const struct observer *observer, struct observed *observed,
                    const struct beat *beat)
{
    bool is_first = !observed->looked;
    observed->looked = true;
    observed->present = beat->present;
    if (is_first) {
        observed->since = now_ns(observer);
    }
    if (!beat->valid || memcmp(beat->bytes, observed->beat.bytes, sizeof(beat->bytes)) == 0) {
        return;
    }
    observed->moved = !is_first;
    observed->beat = *beat;
    observed->since = now_ns(observer);
}

static enum host_health judge(const struct observer *observer, const struct observed *observed,
                              uint64_t still_ns)
{
    const struct lease_settings *times = &observer->datastore.lease;
    if (still_ns >= times->takeover_ns) {
        return HOST_DEAD;
    }
    if (!observed->present) {
        return HOST_ABSENT;
    }
    if (still_ns > HEARTBEATS_MISSED * times->heartbeat_ns) {
        return HOST_SILENT;
    }
    return observed->moved ? HOST_ALIVE : HOST_UNKNOWN;
}

static int read_file(const struct observer *observer, int root, const char *host,
                     struct beat *ret_beat, struct error *err)
{
    CLEANUP_CLOSE int fd = beat_file_open(&observer->datastore, root, host, O_RDONLY, err);
    return fd < 0 ? fd : beat_file_read(&observer->datastore, fd, host, ret_beat, NULL, err);
}

static int read_sector(const struct observer *observer, int root, struct observed *observed,
                       struct beat *ret_beat, struct error *err)
{
    const struct datastore *datastore = &observer->datastore;
    int result = observed->number > 0 ? 0
                                      : lockspace_number(datastore, root, observed->host, false,
                                                         &observed->number, err);
    return result < 0 ? result : lockspace_read(datastore, root, observed->number, ret_beat, err);
}

static int read_beat(const struct observer *observer, int root, struct observed *observed,
                     struct beat *ret_beat, struct error *err)
{
    int result = observer->datastore.lease.kind == LEASE_SANLOCK
                     ? read_sector(observer, root, observed, ret_beat, err)
                     : read_file(observer, root, observed->host, ret_beat, err);
    if (result == -ENOENT) {
        *ret_beat = (struct beat){0};
        return 0;
    }
    return result;
}

static int look(struct observer *observer, int root, const char *host,
                struct host_sighting *ret_sighting, struct error *err)
{
    struct beat beat;
    struct observed *observed = remember(observer, host, err);
    if (!observed) {
        return -ENOMEM;
    }
    uint64_t begun = now_ns(observer);
    int result = read_beat(observer, root, observed, &beat, err);
    if (result < 0) {
        return result;
    }
    take_in(observer, observed, &beat);
    uint64_t still = begun > observed->since ? begun - observed->since : 0;
    *ret_sighting =
        (struct host_sighting){.health = judge(observer, observed, still), .still_ns = still};
    memcpy(ret_sighting->host, observed->host, sizeof(observed->host));
    return 0;
}

int observer_look(struct observer *observer, const char *host, struct host_sighting *ret_sighting,
                  struct error *err)
{
    CLEANUP_CLOSE int root = datastore_open_root(&observer->datastore, err);
    return root < 0 ? root : look(observer, root, host, ret_sighting, err);
}

/* ---- all hosts ---- */

static int remember_numbered(void *observer, unsigned number, const char *host, struct error *err)
{
    (void)number;
    return remember(observer, host, err) ? 0 : -ENOMEM;
}

/* Remembers the hosts that have a beat in a file. */
static int list_files(struct observer *observer, int root, struct error *err)
{
    CLEANUP_CLOSE int fd = file_open_beneath_at(root, observer->datastore.path, BEAT_FOLDER,
                                                O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0) {
        return fd == -ENOENT ? 0 : fd;
    }
    CLEANUP_DIRECTORY DIR *directory = fdopendir(fd);
    if (!directory) {
        return error_set_errno(err, errno, "cannot list the hosts of datastore %s",
                               observer->datastore.name);
    }
    steal_fd(&fd);
    struct dirent *entry;
    while (errno = 0, (entry = readdir(directory))) {
        if (file_name_is_safe(entry->d_name) && !remember(observer, entry->d_name, err)) {
            return -ENOMEM;
        }
    }
    return errno == 0 ? 0
                      : error_set_errno(err, errno, "cannot list the hosts of datastore %s",
                                        observer->datastore.name);
}

static int list_hosts(struct observer *observer, int root, struct error *err)
{
    return observer->datastore.lease.kind == LEASE_SANLOCK
               ? lockspace_each_host(&observer->datastore, root, remember_numbered, observer, err)
               : list_files(observer, root, err);
}

int observer_look_all(struct observer *observer, struct host_sighting **ret_sightings,
                      size_t *ret_count, struct error *err)
{
    CLEANUP_CLOSE int root = datastore_open_root(&observer->datastore, err);
    int result = root < 0 ? root : list_hosts(observer, root, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_FREE struct host_sighting *sightings =
        calloc(observer->count + 1, sizeof(struct host_sighting));
    if (!sightings) {
        return error_set_errno(err, ENOMEM, "cannot observe the hosts of datastore %s",
                               observer->datastore.name);
    }
    for (size_t i = 0; result == 0 && i < observer->count; i++) {
        result = look(observer, root, observer->hosts[i].host, &sightings[i], err);
    }
    if (result == 0) {
        *ret_count = observer->count;
        *ret_sightings = steal_pointer(&sightings);
    }
    return result;
}

const char *host_health_name(enum host_health health)
{
    static const char *const names[] = {
        [HOST_UNKNOWN] = "unknown", [HOST_ALIVE] = "alive",   [HOST_SILENT] = "silent",
        [HOST_DEAD] = "dead",       [HOST_ABSENT] = "absent",
    };
    return names[health];
}
