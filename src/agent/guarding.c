/* The agent and drover-guard: see guarding.h. */
#include "agent/guarding.h"

#include <pthread.h>
#include <string.h>

#include "agent/host_id.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/json.h"

#define INSTRUCTIONS_BYTES_MOST ((size_t)64 << 10)

/* ---- instructions ---- */

/* A datastore that is away while the agent starts was known to an earlier agent: its VMs may run,
 * and the guard is to go on with it. */
static json_t *known_before(const json_t *before, const struct datastore *datastore)
{
    size_t index;
    json_t *entry;
    json_array_foreach (json_object_get(before, "datastores"), index, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *path = json_string_value(json_object_get(entry, "path"));
        if (name && path && strcmp(name, datastore->name) == 0 &&
            strcmp(path, datastore->path) == 0) {
            return entry;
        }
    }
    return NULL;
}

static json_t *describe(const struct agent *agent, const json_t *before)
{
    json_t *list = json_array();
    for (size_t i = 0; i < agent->datastore_count; i++) {
        const struct agent_datastore *entry = &agent->datastores[i];
        const struct datastore *datastore = &entry->datastore;
        if (atomic_load(&entry->open)) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s}", "name", datastore->name, "path",
                                            datastore->path, "uuid", datastore->uuid));
        } else if (known_before(before, datastore)) {
            json_array_append(list, known_before(before, datastore));
        }
    }
    return json_pack("{s:s, s:s, s:o}", "host", agent->config->host, "host_id", agent->host_id,
                     "datastores", list);
}

static int instruct(struct agent *agent, struct error *err)
{
    CLEANUP_FREE char *folder = file_path("%s/guard", agent->config->run_folder);
    CLEANUP_FREE char *path = file_path("%s/guard/datastores.json", agent->config->run_folder);
    int result = folder && path ? file_make_folders(folder, 0711, err)
                                : error_set_errno(err, ENOMEM, "cannot instruct drover-guard");
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *before = json_read_file(path, INSTRUCTIONS_BYTES_MOST, NULL);
    CLEANUP_JSON json_t *now = describe(agent, before);
    if (!now) {
        return error_set_errno(err, ENOMEM, "cannot instruct drover-guard");
    }
    return json_equal(before, now) ? 0 : json_write_file(path, now, 0600, err);
}

/* Each datastore's thread calls this when its datastore is open: one after the other, so that the
 * last one tells of all. */
int guarding_instruct(struct agent *agent, struct error *err)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    int result = instruct(agent, err);
    pthread_mutex_unlock(&mutex);
    return result;
}

/* ---- deadlines ---- */

bool guarding_applies(const struct datastore *datastore)
{
    return datastore->lease.kind != LEASE_LOCAL;
}

static char *page_path(const struct agent *agent, const struct datastore *datastore)
{
    return deadline_path(agent->config->run_folder, datastore->uuid);
}

static int refuse(const struct agent *agent, const struct datastore *datastore, const char *reason,
                  struct error *err)
{
    error_set(
        err, EHOSTUNREACH,
        "host %s does not prove on datastore %s that it lives, so no VM of that datastore may "
        "run on it: %.300s",
        agent->config->host, datastore->name, reason);
    return error_remedy(err,
                        "see that drover-guard runs on host %s (systemctl start drover-guard) "
                        "and that %s is mounted there",
                        agent->config->host, datastore->path);
}

int guarding_mark(struct agent *agent, const struct datastore *datastore, uint64_t *ret_lapses,
                  struct error *err)
{
    struct deadline_state state;
    struct error reason = ERROR_NONE;
    CLEANUP_FREE char *path = page_path(agent, datastore);
    *ret_lapses = 0;
    if (!guarding_applies(datastore)) {
        return 0;
    }
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot read a deadline");
    }
    int result = deadline_look(path, &state, &reason);
    if (result == -ENOENT) {
        return refuse(agent, datastore, "drover-guard has never run there", err);
    }
    if (result < 0) {
        return refuse(agent, datastore, reason.message, err);
    }
    *ret_lapses = state.lapses;
    if (!deadline_has_passed(state.deadline_ns)) {
        return 0;
    }
    return refuse(agent, datastore, state.reason[0] ? state.reason : "drover-guard does not run",
                  err);
}

int guarding_check(struct agent *agent, const struct datastore *datastore, struct error *err)
{
    uint64_t lapses;
    return guarding_mark(agent, datastore, &lapses, err);
}

int guarding_open(struct agent *agent, const struct datastore *datastore, int *ret_fd,
                  struct error *err)
{
    CLEANUP_FREE char *path = page_path(agent, datastore);
    *ret_fd = -1;
    if (!guarding_applies(datastore)) {
        return 0;
    }
    int result = guarding_check(agent, datastore, err);
    if (result < 0 || !path) {
        return result < 0 ? result : error_set_errno(err, ENOMEM, "cannot open a deadline");
    }
    *ret_fd = deadline_open(path, err);
    return *ret_fd < 0 ? *ret_fd : 0;
}

int guarding_left(struct agent *agent, const struct datastore *datastore, int64_t *ret_left_ns,
                  struct error *err)
{
    struct deadline_state state;
    CLEANUP_FREE char *path = page_path(agent, datastore);
    if (!guarding_applies(datastore) || !path) {
        return path ? error_set(err, ENOENT, "datastore %s has no deadline", datastore->name)
                    : error_set_errno(err, ENOMEM, "cannot read a deadline");
    }
    int result = deadline_look(path, &state, err);
    if (result == 0) {
        *ret_left_ns = (int64_t)(state.deadline_ns - clock_boottime_ns());
    }
    return result;
}
