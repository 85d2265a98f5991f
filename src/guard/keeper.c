/* One datastore, kept: see keeper.h. */
#include "guard/keeper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/log.h"
#include "base/units.h"
#include "guard/machines.h"
#include "storage/datastore.h"
#include "storage/heartbeat.h"

#define STACK_SIZE ((size_t)256 << 10) /* all of it is locked in memory */
#define RETRY_NS (500 * NANOSECONDS_PER_MILLISECOND)

struct keeper {
    char *run_folder;
    char *page_path;
    char host[VM_NAME_SIZE];
    char host_id[VM_NAME_SIZE];
    struct instructions_datastore wanted;

    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool end; /* under the lock, as all down to `page` */
    bool ended;
    struct lease_settings settings; /* once `known`; written by the thread only */
    bool known;
    struct deadline_page *page; /* set once; NULL: no machine has a deadline */

    /* the thread's own */
    struct renewal *renewal;
    int failure; /* errno of the last attempt, which was logged */
    uint64_t failing_since_ns;
};

static struct deadline_page *page_of(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    struct deadline_page *page = keeper->page;
    pthread_mutex_unlock(&keeper->lock);
    return page;
}

/* ---- the datastore, which may hang ---- */

static int map_page(struct keeper *keeper, struct error *err)
{
    struct deadline_page *page;
    int result = page_of(keeper) ? 0 : deadline_create(keeper->page_path, &page, err);
    if (result == 0 && !page_of(keeper)) {
        pthread_mutex_lock(&keeper->lock);
        keeper->page = page;
        pthread_mutex_unlock(&keeper->lock);
    }
    return result;
}

static void adopt_settings(struct keeper *keeper, const struct lease_settings *settings)
{
    char heartbeat[32];
    char stop_after[32];
    pthread_mutex_lock(&keeper->lock);
    keeper->settings = *settings;
    keeper->known = true;
    pthread_mutex_unlock(&keeper->lock);
    if (settings->kind == LEASE_LOCAL) {
        log_info("datastore %s is this host's alone: no heartbeats", keeper->wanted.name);
        return;
    }
    units_format_duration(settings->heartbeat_ns, heartbeat, sizeof(heartbeat));
    units_format_duration(settings->stop_after_ns, stop_after, sizeof(stop_after));
    log_info("datastore %s: a heartbeat every %s, machines end %s after the last one",
             keeper->wanted.name, heartbeat, stop_after);
}

static int open_renewal(struct keeper *keeper, struct error *err)
{
    struct datastore datastore;
    int result = datastore_open_known(keeper->wanted.name, keeper->wanted.path, keeper->wanted.uuid,
                                      &datastore, err);
    if (result < 0) {
        return result;
    }
    if (datastore.lease.kind != LEASE_LOCAL) {
        result = map_page(keeper, err);
        if (result == 0) {
            result = renewal_open(&datastore, keeper->host, keeper->host_id, NULL, &keeper->renewal,
                                  err);
        }
    }
    if (result == 0) {
        adopt_settings(keeper, &datastore.lease);
    }
    return result;
}

/* ---- the deadline ---- */

/* Where there never was a deadline, machines were started without one, by an older Drover. */
static bool was_missed(uint64_t deadline)
{
    return deadline != 0 && deadline_has_passed(deadline);
}

/* Machines that missed the last deadline must be gone before there is another. */
static bool may_extend(const struct keeper *keeper)
{
    return !was_missed(deadline_page_moment(keeper->page)) ||
           machines_kill(keeper->run_folder, keeper->wanted.uuid) == 0;
}

static int beat(struct keeper *keeper, struct error *err)
{
    int result = keeper->known ? 0 : open_renewal(keeper, err);
    if (result < 0 || keeper->settings.kind == LEASE_LOCAL) {
        return result;
    }
    uint64_t proven;
    result = renewal_renew(keeper->renewal, &proven, err);
    if (result == 0 && !may_extend(keeper)) {
        result = error_set(err, EBUSY, "machines that missed the deadline have not ended yet");
    }
    if (result == 0) {
        deadline_extend(keeper->page, proven, proven + keeper->settings.stop_after_ns);
    }
    return result;
}

/* ---- the thread ---- */

static void tell(struct keeper *keeper, int result, const struct error *err)
{
    uint64_t now = clock_boottime_ns();
    if (result < 0 && keeper->failure != err->code) {
        log_warning("datastore %s: %s", keeper->wanted.name, err->message);
    }
    if (result < 0 && keeper->failure == 0) {
        keeper->failing_since_ns = now;
    }
    if (result == 0 && keeper->failure != 0) {
        char lasted[32];
        units_format_duration(now - keeper->failing_since_ns, lasted, sizeof(lasted));
        log_info("datastore %s is renewed again, after %s", keeper->wanted.name, lasted);
    }
    keeper->failure = result < 0 ? err->code : 0;
    if (result < 0 && keeper->page) {
        deadline_fail(keeper->page, err);
    }
}

static uint64_t interval_ns(const struct keeper *keeper)
{
    bool beats = keeper->known && keeper->settings.kind != LEASE_LOCAL;
    return beats ? keeper->settings.heartbeat_ns : RETRY_NS;
}

/* Until the next beat is due; false when it is to end instead. A datastore without heartbeats has
 * nothing more to do but to wait for that. */
static bool wait_for_beat(struct keeper *keeper, uint64_t due_ns)
{
    bool due = false;
    pthread_mutex_lock(&keeper->lock);
    bool rests = keeper->known && keeper->settings.kind == LEASE_LOCAL;
    while (!keeper->end && !due) {
        if (rests) {
            pthread_cond_wait(&keeper->woken, &keeper->lock);
        } else {
            due = !condition_wait(&keeper->woken, &keeper->lock, due_ns);
        }
    }
    bool goes_on = !keeper->end;
    pthread_mutex_unlock(&keeper->lock);
    return goes_on;
}

/* The datastore is another one, or has other settings: they count from when nothing runs by the old
 * ones. */
static void forget_settings(struct keeper *keeper)
{
    renewal_close(keeper->renewal);
    keeper->renewal = NULL;
    pthread_mutex_lock(&keeper->lock);
    keeper->known = false;
    pthread_mutex_unlock(&keeper->lock);
}

static void *keep(void *argument)
{
    struct keeper *keeper = argument;
    uint64_t due = clock_monotonic_ns();
    do {
        struct error err = ERROR_NONE;
        int result = beat(keeper, &err);
        tell(keeper, result, &err);
        if (result == -ESTALE && machines_count(keeper->run_folder, keeper->wanted.uuid) == 0) {
            forget_settings(keeper);
        }
        due += interval_ns(keeper);
        uint64_t now = clock_monotonic_ns();
        due = due > now ? due : now; /* what was missed is not made up for */
    } while (wait_for_beat(keeper, due));
    renewal_close(keeper->renewal);
    pthread_mutex_lock(&keeper->lock);
    keeper->ended = true;
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

static int start_thread(struct keeper *keeper, struct error *err)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    int result = pthread_create(&thread, &attributes, keep, keeper);
    pthread_attr_destroy(&attributes);
    return result ? error_set_errno(err, result, "cannot watch datastore %s", keeper->wanted.name)
                  : 0;
}

/* ---- from outside ---- */

/* Machines that an earlier guard let run have a page already, whatever the datastore says now. */
static int find_page(struct keeper *keeper, struct error *err)
{
    return access(keeper->page_path, F_OK) == 0 ? map_page(keeper, err) : 0;
}

static struct keeper *new_keeper(const char *run_folder, const struct instructions *instructions,
                                 const struct instructions_datastore *datastore)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper) {
        return NULL;
    }
    pthread_mutex_init(&keeper->lock, NULL);
    condition_init(&keeper->woken);
    memcpy(keeper->host, instructions->host, sizeof(keeper->host));
    memcpy(keeper->host_id, instructions->host_id, sizeof(keeper->host_id));
    keeper->wanted = *datastore;
    keeper->run_folder = strdup(run_folder);
    keeper->page_path = deadline_path(run_folder, datastore->uuid);
    if (!keeper->run_folder || !keeper->page_path) {
        keeper_free(keeper);
        return NULL;
    }
    return keeper;
}

int keeper_start(const char *run_folder, const struct instructions *instructions,
                 const struct instructions_datastore *datastore, struct keeper **ret_keeper,
                 struct error *err)
{
    struct keeper *keeper = new_keeper(run_folder, instructions, datastore);
    if (!keeper) {
        return error_set_errno(err, ENOMEM, "cannot watch datastore %s", datastore->name);
    }
    int result = find_page(keeper, err);
    if (result == 0) {
        result = start_thread(keeper, err);
    }
    if (result < 0) {
        keeper_free(keeper);
        return result;
    }
    *ret_keeper = keeper;
    return 0;
}

void keeper_end(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    keeper->end = true;
    pthread_cond_signal(&keeper->woken);
    pthread_mutex_unlock(&keeper->lock);
}

bool keeper_has_ended(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    bool ended = keeper->ended;
    pthread_mutex_unlock(&keeper->lock);
    return ended;
}

void keeper_free(struct keeper *keeper)
{
    if (!keeper) {
        return;
    }
    deadline_unmap(keeper->page);
    pthread_cond_destroy(&keeper->woken);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper->page_path);
    free(keeper->run_folder);
    free(keeper);
}

const struct instructions_datastore *keeper_datastore(const struct keeper *keeper)
{
    return &keeper->wanted;
}

uint64_t keeper_deadline(struct keeper *keeper)
{
    const struct deadline_page *page = page_of(keeper);
    return page ? deadline_page_moment(page) : UINT64_MAX;
}

uint64_t keeper_margin_ns(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    uint64_t margin = keeper->settings.takeover_ns - keeper->settings.stop_after_ns;
    bool beats = keeper->known && keeper->settings.kind != LEASE_LOCAL;
    pthread_mutex_unlock(&keeper->lock);
    return beats ? margin : 0;
}

size_t keeper_enforce(struct keeper *keeper)
{
    return was_missed(keeper_deadline(keeper))
               ? machines_kill(keeper->run_folder, keeper->wanted.uuid)
               : 0;
}
