/* The calls about datastores. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/routes/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "storage/lease_change.h"

/* What the task works on. */
struct change_job {
    struct datastore datastore;
    struct lease_settings settings;
    struct task *task;
};

static bool show_wait(void *context, uint64_t left_ns)
{
    const struct change_job *job = context;
    uint64_t takeover_ns = job->datastore.lease.takeover_ns;
    task_set_progress(
        job->task, 1.0 - (double)left_ns / (double)takeover_ns,
        json_pack("{s:I}", "left_ms", (json_int_t)(left_ns / NANOSECONDS_PER_MILLISECOND)));
    return !task_is_cancelled(job->task);
}

static int change_task(struct task *task, void *context, struct error *err)
{
    CLEANUP_FREE struct change_job *job = context;
    job->task = task;
    int result = lease_change(&job->datastore, &job->settings, show_wait, job, err);
    if (result == 0) {
        log_warning("datastore %s has leases of kind %s from now on: restart droverd and "
                    "drover-guard on all hosts that use it",
                    job->datastore.name, lease_kind_name(job->settings.kind));
    }
    return result;
}

static int start_change(struct agent *agent, const struct datastore *datastore,
                        const struct lease_settings *settings, json_t **ret_task, struct error *err)
{
    CLEANUP_FREE struct change_job *job = calloc(1, sizeof(*job));
    struct task *task = task_new(agent->tasks, "set-lease", datastore->name);
    char id[UUID_TEXT_SIZE];
    if (!job || !task) {
        task_discard(task);
        return error_set_errno(err, ENOMEM, "cannot change the leases of datastore %s",
                               datastore->name);
    }
    job->datastore = *datastore;
    job->settings = *settings;
    snprintf(id, sizeof(id), "%s", task_id(task));
    int result = task_run(task, change_task, job, err);
    if (result < 0) {
        return result;
    }
    steal_pointer(&job);
    *ret_task = task_list_get(agent->tasks, id, -1, 0);
    return 0;
}

int set_datastore_lease(void *context, const struct request *request, struct response *ret_response,
                        struct error *err)
{
    struct agent *agent = context;
    struct lease_settings settings;
    json_t *task = NULL;
    CLEANUP_JSON json_t *marker = json_pack("{s:O}", "lease", request->body);
    const struct datastore *datastore = datastores_find(agent, request->parameters[0], err);
    if (!datastore || !marker) {
        return datastore ? -ENOMEM : -err->code;
    }
    int result = lease_settings_from_json(marker, "the request", &settings, err);
    if (result == 0) {
        result = start_change(agent, datastore, &settings, &task, err);
    }
    if (result == 0) {
        ret_response->status = 202;
        ret_response->body = json_pack("{s:o?}", "task", task);
    }
    return result;
}
