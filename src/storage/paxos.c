/* Sanlock resources: see paxos.h. */
#include "storage/paxos.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sanlock_admin.h>
#include <sanlock_resource.h>
#include <sanlock_rv.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "storage/lockspace.h"

#define PATIENCE_NS (5 * NANOSECONDS_PER_SECOND)
#define PAUSE_LEAST_NS (2 * NANOSECONDS_PER_MILLISECOND)

static void fill(const char *path, struct paxos *ret_paxos)
{
    memset(ret_paxos, 0, sizeof(*ret_paxos));
    ret_paxos->fd = -1;
    ret_paxos->area.resource.flags = SANLK_RES_ALIGN1M | SANLK_RES_SECTOR512;
    ret_paxos->area.resource.num_disks = 1;
    snprintf(ret_paxos->area.disk.path, SANLK_PATH_LEN, "%s", path);
}

int paxos_prepare(const struct datastore *datastore, const char *path, struct error *err)
{
    struct paxos paxos;
    char name[UUID_TEXT_SIZE];
    uuid_generate(name);
    fill(path, &paxos);
    memcpy(paxos.area.resource.lockspace_name, datastore->uuid, UUID_TEXT_SIZE);
    memcpy(paxos.area.resource.name, name, UUID_TEXT_SIZE);
    int result = sanlock_write_resource(&paxos.area.resource, 0, 0, 0);
    return result < 0 ? lockspace_error(result, err, "cannot make a sanlock resource") : 0;
}

/* Its names and version, as the storage has them. */
static int read_resource(const char *path, struct paxos *ret_paxos, struct error *err)
{
    fill(path, ret_paxos);
    int result = sanlock_read_resource(&ret_paxos->area.resource, 0);
    return result < 0 ? lockspace_error(result, err, "cannot read the sanlock resource %s", path)
                      : 0;
}

/* A connection that the daemon frees the resource with when we die. It must not kill us when the
 * lockspace fails: what we hold we hold for milliseconds, and find out by ourselves. */
static int connect_daemon(struct error *err)
{
    CLEANUP_CLOSE int fd = sanlock_register();
    int result =
        fd < 0 ? fd : sanlock_restrict(fd, SANLK_RESTRICT_SIGKILL | SANLK_RESTRICT_SIGTERM);
    return result < 0 ? lockspace_error(result, err, "cannot reach the sanlock daemon")
                      : steal_fd(&fd);
}

/* Whether somebody else has it at the moment. */
static bool is_taken(int result)
{
    return result == -EEXIST || result == -EBUSY || result == -EAGAIN ||
           (result <= SANLK_ACQUIRE_IDLIVE && result >= SANLK_ACQUIRE_OWNED_RETRY) ||
           (result <= SANLK_DBLOCK_READ && result >= SANLK_DBLOCK_CHECKSUM);
}

/* Waits for a time that grows, and differs, so that many do not come again together. */
static void pause_before(unsigned attempt)
{
    uint32_t random;
    uint64_t span = PAUSE_LEAST_NS << (attempt < 5 ? attempt : 5);
    random_bytes(&random, sizeof(random));
    clock_sleep_ns(PAUSE_LEAST_NS + random % span);
}

static int acquire(struct paxos *paxos, const char *path, struct error *err)
{
    struct sanlk_resource *resources[] = {&paxos->area.resource};
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    int result;
    for (unsigned attempt = 0;; attempt++) {
        result = sanlock_acquire(paxos->fd, -1, SANLK_ACQUIRE_OWNER_NOWAIT, 1, resources, NULL);
        if (result >= 0 || !is_taken(result) || clock_monotonic_ns() > deadline) {
            break;
        }
        pause_before(attempt);
    }
    if (result >= 0) {
        return 0;
    }
    if (result == -ENOSPC) {
        error_set(err, ENOTCONN, "the sanlock daemon of this host is not in the lockspace of %s",
                  path);
        return error_remedy(err, "drover-guard has it join: systemctl start drover-guard");
    }
    lockspace_error(result, err, "cannot take the sanlock resource %s", path);
    if (!is_taken(result)) {
        return -err->code;
    }
    err->code = EAGAIN;
    return error_remedy(err, "try again: another host holds it, or died while it did; then "
                             "sanlock frees it by itself in time");
}

int paxos_take(const char *path, struct paxos *ret_paxos, struct error *err)
{
    struct error ignored = ERROR_NONE;
    struct error *reason = err ? err : &ignored;
    struct paxos paxos;
    int result = read_resource(path, &paxos, reason);
    if (result < 0) {
        return result;
    }
    paxos.fd = connect_daemon(reason);
    if (paxos.fd < 0) {
        return paxos.fd;
    }
    result = acquire(&paxos, path, reason);
    if (result == 0) {
        struct paxos held;
        result = read_resource(path, &held, reason);
        paxos.version = held.area.resource.lver;
    }
    if (result < 0) {
        paxos_done(&paxos);
        return result;
    }
    *ret_paxos = paxos;
    return 0;
}

int paxos_check(const struct paxos *paxos, const char *path, struct error *err)
{
    struct paxos now;
    int result = read_resource(path, &now, err);
    if (result == 0 && now.area.resource.lver != paxos->version) {
        return error_set(err, EEXIST, "the sanlock resource %s was taken by somebody else", path);
    }
    return result;
}

void paxos_done(struct paxos *paxos)
{
    struct sanlk_resource *resources[] = {&paxos->area.resource};
    if (paxos->fd >= 0) {
        sanlock_release(paxos->fd, -1, 0, 1, resources); /* closing does it too, only later */
        close_fd(&paxos->fd);
    }
}
