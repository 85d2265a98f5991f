/*
 * libFuzzer's entry: requests to the agent's API, as its handlers see them: a path, a query, and a
 * body. The agent has no datastore and no VM, so nothing is begun. The first byte chooses the call,
 * the first line of the rest is what the path names, the second the query, what follows the body.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/routes/routes.h"
#include "base/json.h"
#include "base/log.h"
#include "harness.h"

static const char configuration[] =
    "{\"version\": 1, \"host\": \"h1\", \"state_folder\": \"/dev/shm/drover-fuzz-state\","
    " \"run_folder\": \"/dev/shm/drover-fuzz-run\", \"datastores\": [],"
    " \"migration_addresses\": [\"127.0.0.1\"]}";

static struct agent *make_agent(void)
{
    struct error err = ERROR_NONE;
    struct agent *agent = calloc(1, sizeof(*agent));
    struct agent_config *config = NULL;
    CLEANUP_JSON json_t *document =
        json_parse(configuration, strlen(configuration), "configuration", &err);
    if (!document || config_from_json(document, "configuration", &config, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    agent->config = config;
    agent->capabilities = json_object();
    agent->inventory = inventory_new(config->host);
    agent->tasks = task_list_new();
    agent->moves = move_list_new();
    agent->samplings = sampling_list_new();
    agent->recoveries = recoveries_new();
    pthread_mutex_init(&agent->admission.mutex, NULL);
    return agent;
}

/* Certificates are not kept here. */
static bool is_ours(const struct route *route)
{
    return !strstr(route->pattern, "/ca") && !strstr(route->pattern, "/tls");
}

/* The next line of the text, cut to what fits. */
static void take_line(const char **text, char *ret_line, size_t size)
{
    size_t length = strcspn(*text, "\n");
    snprintf(ret_line, size, "%.*s", (int)(length < size ? length : size - 1), *text);
    *text += length + ((*text)[length] == '\n');
}

/* The chosen call's path, with what was given in place of the first {}. */
static void fill_path(struct request *request, const char *pattern, const char *given)
{
    const char *hole = strstr(pattern, "{}");
    if (hole) {
        snprintf(request->path, sizeof(request->path), "%.*s%s%s", (int)(hole - pattern), pattern,
                 given, hole + 2);
    } else {
        snprintf(request->path, sizeof(request->path), "%s", pattern);
    }
}

static void call(struct agent *agent, struct request *request)
{
    struct error err = ERROR_NONE;
    struct response response = {.status = 200};
    const struct route *route = route_find(agent_routes, agent_route_count, request, &err);
    if (!route || !is_ours(route)) {
        return;
    }
    int result = route->handler(agent, request, &response, &err);
    harness_check_refusal(result, &err);
    if (result >= 0 && (response.status < 200 || response.status > 599)) {
        abort();
    }
    json_decref(response.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct agent *agent;
    char given[REQUEST_PARAMETER_SIZE];
    struct request request = {.caller = {.kind = CALLER_OPERATOR, .name = "fuzz"}};
    if (!agent) {
        log_start("fuzz", LOG_LEVEL_ERROR);
        agent = make_agent();
    }
    if (length == 0) {
        return 0;
    }
    const struct route *route = &agent_routes[bytes[0] % agent_route_count];
    char *copy = strndup((const char *)bytes + 1, length - 1);
    const char *text = copy;
    take_line(&text, given, sizeof(given));
    take_line(&text, request.query, sizeof(request.query));
    fill_path(&request, route->pattern, given);
    request.method = route->method;
    request.body = *text ? json_parse(text, strlen(text), "the request", NULL) : json_object();
    if (json_is_object(request.body)) { /* as the server has seen to */
        call(agent, &request);
    }
    json_decref(request.body);
    free(copy);
    return 0;
}
