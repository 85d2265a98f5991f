/* VMs to be started again: see restarts.h. */
#include "agent/vm/restarts.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/guarding.h"
#include "agent/vm/lifecycle.h"
#include "agent/vm/ownership.h"
#include "agent/vm/recoveries.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#define RESTARTS_VERSION 1
#define RESTART_BYTES_MOST 4096

struct restart {
    struct restart *next;
    char uuid[UUID_TEXT_SIZE];
    char name[VM_NAME_SIZE];
    char datastore_uuid[UUID_TEXT_SIZE];
    char datastore_name[VM_NAME_SIZE];
    uint64_t ended_at; /* CLOCK_REALTIME */
};

struct restarts {
    pthread_mutex_t mutex;
    struct restart *first;
};

/* ---- on disk ---- */

static char *path_of(const struct agent *agent, const char *uuid)
{
    return file_path("%s/restarts/%s", agent->config->run_folder, uuid);
}

static int write_down(const struct agent *agent, const struct restart *restart, struct error *err)
{
    CLEANUP_FREE char *path = path_of(agent, restart->uuid);
    CLEANUP_JSON json_t *document =
        json_pack("{s:i, s:s, s:s, s:s, s:I}", "version", RESTARTS_VERSION, "name", restart->name,
                  "datastore_uuid", restart->datastore_uuid, "datastore_name",
                  restart->datastore_name, "ended_at", (json_int_t)restart->ended_at);
    return path && document ? json_write_file(path, document, 0600, err)
                            : error_set_errno(err, ENOMEM, "cannot write down a restart");
}

static int copy_text(const json_t *document, const char *path, const char *key, char *ret_text,
                     size_t size, struct error *err)
{
    const char *text;
    int result = json_get_string(document, path, key, &text, err);
    if (result == 0 && strlen(text) >= size) {
        result = error_set(err, EINVAL, "%s: \"%s\" is too long", path, key);
    }
    if (result == 0) {
        strcpy(ret_text, text);
    }
    return result;
}

static int parse(const json_t *document, const char *path, struct restart *restart,
                 struct error *err)
{
    int64_t version;
    int64_t ended_at = 0;
    int result = json_get_integer(document, path, "version", 1, RESTARTS_VERSION, &version, err);
    if (result == 0) {
        result = copy_text(document, path, "name", restart->name, sizeof(restart->name), err);
    }
    if (result == 0) {
        result = copy_text(document, path, "datastore_uuid", restart->datastore_uuid,
                           sizeof(restart->datastore_uuid), err);
    }
    if (result == 0) {
        result = copy_text(document, path, "datastore_name", restart->datastore_name,
                           sizeof(restart->datastore_name), err);
    }
    if (result == 0) {
        result = json_get_integer(document, path, "ended_at", 0, INT64_MAX, &ended_at, err);
    }
    restart->ended_at = (uint64_t)ended_at;
    return result;
}

/* With the mutex held, or before anybody else knows of the list. */
static void insert(struct restarts *restarts, struct restart *restart)
{
    restart->next = restarts->first;
    restarts->first = restart;
}

static int read_one(const struct agent *agent, struct restarts *restarts, const char *uuid,
                    struct error *err)
{
    CLEANUP_FREE struct restart *restart = calloc(1, sizeof(*restart));
    CLEANUP_FREE char *path = path_of(agent, uuid);
    if (!restart || !path) {
        return error_set_errno(err, ENOMEM, "cannot read which VMs are to be started again");
    }
    CLEANUP_JSON json_t *document = json_read_file(path, RESTART_BYTES_MOST, err);
    int result = document ? parse(document, path, restart, err) : -err->code;
    if (result == 0) {
        snprintf(restart->uuid, sizeof(restart->uuid), "%s", uuid);
        insert(restarts, steal_pointer(&restart));
    }
    return result;
}

int restarts_new(const struct agent *agent, struct restarts **ret_restarts, struct error *err)
{
    CLEANUP_FREE char *path = path_of(agent, "");
    struct restarts *restarts = calloc(1, sizeof(*restarts));
    if (!restarts || !path || file_make_folders(path, 0700, err) < 0) {
        free(restarts);
        return err->code ? -err->code : error_set_errno(err, ENOMEM, "cannot start");
    }
    pthread_mutex_init(&restarts->mutex, NULL);
    CLEANUP_DIRECTORY DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        struct error bad = ERROR_NONE;
        if (uuid_is_valid(entry->d_name) && read_one(agent, restarts, entry->d_name, &bad) < 0) {
            log_error("a VM that was to be started again is left stopped: %s", bad.message);
        }
    }
    *ret_restarts = restarts;
    return 0;
}

/* ---- the list ---- */

void restarts_add(struct agent *agent, const struct vm *vm)
{
    struct restarts *restarts = agent->restarts;
    struct error err = ERROR_NONE;
    struct restart *restart = calloc(1, sizeof(*restart));
    if (!restart) {
        log_error("VM %s is not started again by itself: no memory", vm->config.name);
        return;
    }
    restart->ended_at = clock_realtime_ns();
    snprintf(restart->uuid, sizeof(restart->uuid), "%s", vm->config.uuid);
    snprintf(restart->name, sizeof(restart->name), "%s", vm->config.name);
    snprintf(restart->datastore_uuid, sizeof(restart->datastore_uuid), "%s", vm->datastore.uuid);
    snprintf(restart->datastore_name, sizeof(restart->datastore_name), "%s", vm->datastore.name);
    restarts_drop(agent, vm->config.uuid);
    if (write_down(agent, restart, &err) < 0) {
        log_warning("VM %s is started again only by this agent: %s", vm->config.name, err.message);
    }
    pthread_mutex_lock(&restarts->mutex);
    insert(restarts, restart);
    pthread_mutex_unlock(&restarts->mutex);
}

/* With the mutex held: the link to it, or to the list's end. */
static struct restart **find(struct restarts *restarts, const char *uuid)
{
    struct restart **link = &restarts->first;
    while (*link && strcmp((*link)->uuid, uuid) != 0) {
        link = &(*link)->next;
    }
    return link;
}

bool restarts_drop(struct agent *agent, const char *uuid)
{
    struct restarts *restarts = agent->restarts;
    pthread_mutex_lock(&restarts->mutex);
    struct restart **link = find(restarts, uuid);
    struct restart *found = *link;
    if (found) {
        *link = found->next;
    }
    pthread_mutex_unlock(&restarts->mutex);
    CLEANUP_FREE char *path = found ? path_of(agent, uuid) : NULL;
    if (path) {
        unlink(path);
    }
    free(found);
    return found != NULL;
}

bool restarts_describe(struct agent *agent, const char *uuid, char text[RESTARTS_TEXT_SIZE])
{
    char ended_at[32];
    struct restarts *restarts = agent->restarts;
    pthread_mutex_lock(&restarts->mutex);
    const struct restart *found = *find(restarts, uuid);
    if (found) {
        clock_format_utc(found->ended_at, ended_at);
        snprintf(text, RESTARTS_TEXT_SIZE,
                 "it was ended at %s because this host could not prove on datastore %s that it "
                 "lives; it starts again here as soon as it can",
                 ended_at, found->datastore_name);
    }
    pthread_mutex_unlock(&restarts->mutex);
    return found != NULL;
}

/* ---- starting them ---- */

/* A copy of the first one of a datastore. */
static bool take_first(struct restarts *restarts, const char *datastore_uuid,
                       struct restart *ret_restart)
{
    pthread_mutex_lock(&restarts->mutex);
    const struct restart *found = restarts->first;
    while (found && strcmp(found->datastore_uuid, datastore_uuid) != 0) {
        found = found->next;
    }
    if (found) {
        *ret_restart = *found;
    }
    pthread_mutex_unlock(&restarts->mutex);
    return found != NULL;
}

/* Whose lease is still this host's, nobody else has run since. 1; 0: it is not to be started any
 * more. */
static int is_still_ours(struct agent *agent, const struct restart *restart, struct vm *vm,
                         struct error *err)
{
    struct lease lease;
    int result = agent_find_vm(agent, restart->uuid, vm, err);
    if (result == 0) {
        result = ownership_read(agent, vm, &lease, err);
    }
    if (result < 0) {
        return result;
    }
    if (strcmp(lease.host, agent->config->host) == 0) {
        return 1;
    }
    recoveries_note(agent->recoveries, RECOVERY_CLEANED, restart->name,
                    "it is not started again here: %s%s has it since epoch %" PRIu64,
                    lease.host[0] ? "host " : "", lease.host[0] ? lease.host : "nobody",
                    lease.epoch);
    return 0;
}

static void start(struct agent *agent, const struct restart *restart, const struct vm *vm)
{
    char task[UUID_TEXT_SIZE];
    struct error err = ERROR_NONE;
    if (lifecycle_start(agent, vm->config.name, OWNERSHIP_FREE, task, &err) < 0) {
        recoveries_note(agent->recoveries, RECOVERY_FAILED, restart->name,
                        "it cannot be started again: %s", err.message);
    } else {
        recoveries_note(agent->recoveries, RECOVERY_RESTARTED, restart->name,
                        "it is started again, task %s: datastore %s is back, and the VM is still "
                        "this host's",
                        task, restart->datastore_name);
    }
}

void restarts_try(struct agent *agent, const struct datastore *datastore)
{
    struct restart restart;
    struct vm vm;
    struct error err = ERROR_NONE;
    if (!take_first(agent->restarts, datastore->uuid, &restart) ||
        guarding_check(agent, datastore, NULL) < 0) {
        return;
    }
    int ours = is_still_ours(agent, &restart, &vm, &err);
    if (ours < 0 && ours != -ENOENT) {
        log_debug("VM %s is not started again yet: %s", restart.name, err.message);
        return;
    }
    if (restarts_drop(agent, restart.uuid) && ours > 0 && vm.state == VM_STATE_STOPPED) {
        start(agent, &restart, &vm);
    }
}
