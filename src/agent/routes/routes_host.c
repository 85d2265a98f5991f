/* GET /v1/host and the calls about tasks. */
#include "agent/agent.h"
#include "agent/host_facts.h"
#include "agent/routes/routes.h"
#include "base/clock.h"

#define WAIT_MS_MOST 20000 /* a waiting client holds a worker */

int get_host(void *context, const struct request *request, struct response *ret_response,
             struct error *err)
{
    (void)request;
    ret_response->body = host_facts(context, err);
    return ret_response->body ? 0 : -err->code;
}

int get_tasks(void *context, const struct request *request, struct response *ret_response,
              struct error *err)
{
    struct agent *agent = context;
    (void)request;
    (void)err;
    ret_response->body = json_pack("{s:o}", "tasks", task_list_all(agent->tasks));
    return 0;
}

static int answer_task(struct agent *agent, const char *id, int64_t after, uint64_t wait_ns,
                       struct response *ret_response, struct error *err)
{
    ret_response->body = task_list_get(agent->tasks, id, after, wait_ns);
    return ret_response->body ? 0 : error_set(err, ENOENT, "there is no task %s", id);
}

int get_task(void *context, const struct request *request, struct response *ret_response,
             struct error *err)
{
    int64_t after;
    int64_t wait_ms;
    int result = request_query_integer(request, "after", -1, INT64_MAX, -1, &after, err);
    if (result == 0) {
        result = request_query_integer(request, "wait_ms", 0, WAIT_MS_MOST, 0, &wait_ms, err);
    }
    if (result < 0) {
        return result;
    }
    return answer_task(context, request->parameters[0], after,
                       (uint64_t)wait_ms * NANOSECONDS_PER_MILLISECOND, ret_response, err);
}

int cancel_task(void *context, const struct request *request, struct response *ret_response,
                struct error *err)
{
    struct agent *agent = context;
    int result = task_list_cancel(agent->tasks, request->parameters[0], err);
    if (result < 0) {
        return result;
    }
    ret_response->status = 202;
    return answer_task(agent, request->parameters[0], -1, 0, ret_response, err);
}
