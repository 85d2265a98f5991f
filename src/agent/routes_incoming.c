/* The calls between agents, about moves that come in. */
#include "agent/migrate_destination.h"
#include "agent/routes.h"

int check_incoming(void *context, const struct request *request, struct response *ret_response,
                   struct error *err)
{
    return incoming_check(context, request->body, &ret_response->body, err);
}

int begin_incoming(void *context, const struct request *request, struct response *ret_response,
                   struct error *err)
{
    ret_response->status = 201;
    return incoming_begin(context, request->body, &ret_response->body, err);
}

int get_incoming(void *context, const struct request *request, struct response *ret_response,
                 struct error *err)
{
    struct agent *agent = context;
    ret_response->body = move_list_get(agent->moves, request->parameters[0]);
    return ret_response->body
               ? 0
               : error_set(err, ENOENT, "there is no move %s", request->parameters[0]);
}

int delete_incoming(void *context, const struct request *request, struct response *ret_response,
                    struct error *err)
{
    int result = incoming_cancel(context, request->parameters[0], err);
    if (result == 0) {
        ret_response->body = json_object();
    }
    return result;
}
