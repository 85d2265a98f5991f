/* The calls between agents, about moves that come in. A host may offer VMs of its own, and ask
 * about and give up moves that it began; the other host's are none of its business. */
#include <string.h>

#include "agent/move/migrate_destination.h"
#include "agent/routes/routes.h"

static int check_sender(const struct request *request, struct error *err)
{
    const json_t *source = json_object_get(request->body, "source");
    const char *name = json_string_value(json_object_get(source, "name"));
    if (request->caller.kind == CALLER_HOST && (!name || strcmp(name, request->caller.name) != 0)) {
        return error_set(err, EACCES, "host %s offers a VM in the name of host %s",
                         request->caller.name, name ? name : "nobody");
    }
    return 0;
}

/* As for a move that is not there: whether there is one is not told either. */
static int check_mover(struct agent *agent, const struct request *request, struct error *err)
{
    const char *move = request->parameters[0];
    if (request->caller.kind == CALLER_HOST &&
        !move_list_is_from(agent->moves, move, request->caller.name)) {
        return error_set(err, ENOENT, "there is no move %s", move);
    }
    return 0;
}

int check_incoming(void *context, const struct request *request, struct response *ret_response,
                   struct error *err)
{
    int result = check_sender(request, err);
    return result < 0 ? result : incoming_check(context, request->body, &ret_response->body, err);
}

int begin_incoming(void *context, const struct request *request, struct response *ret_response,
                   struct error *err)
{
    int result = check_sender(request, err);
    ret_response->status = 201;
    return result < 0 ? result : incoming_begin(context, request->body, &ret_response->body, err);
}

int get_incoming(void *context, const struct request *request, struct response *ret_response,
                 struct error *err)
{
    struct agent *agent = context;
    int result = check_mover(agent, request, err);
    if (result < 0) {
        return result;
    }
    ret_response->body = move_list_get(agent->moves, request->parameters[0]);
    return ret_response->body
               ? 0
               : error_set(err, ENOENT, "there is no move %s", request->parameters[0]);
}

int delete_incoming(void *context, const struct request *request, struct response *ret_response,
                    struct error *err)
{
    int64_t disowned;
    int result = request_query_integer(request, "disowned", 0, 1, 0, &disowned, err);
    if (result == 0 && disowned == 1 && request->caller.kind != CALLER_HOST) {
        return error_set(err, EACCES,
                         "only the host that a VM comes from can say that it keeps it");
    }
    if (result == 0) {
        result = check_mover(context, request, err);
    }
    if (result == 0) {
        result = incoming_cancel(context, request->parameters[0], disowned == 1, err);
    }
    if (result == 0) {
        ret_response->body = json_object();
    }
    return result;
}
