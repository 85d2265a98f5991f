/* What can be done to one host of a lab: power, cables, agent. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "lab/agent.h"
#include "lab/command.h"
#include "lab/init.h"
#include "lab/node.h"
#include "lab/wiring.h"

/* Locks the lab and finds the host that the first word names. */
static int open_host(const struct lab_arguments *arguments, struct lab *lab,
                     struct lab_node **ret_host, struct error *err)
{
    int result = lab_open_up(arguments, lab, err);
    if (result < 0) {
        return result;
    }
    *ret_host = registry_find_node(lab, arguments->words[0], true, err);
    return *ret_host ? 0 : -err->code;
}

/* ---- power ---- */

int lab_power_off(const struct lab_arguments *arguments, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    struct lab_node *host;
    int result = open_host(arguments, &lab, &host, err);
    if (result < 0) {
        return result;
    }
    if (!process_is_alive(&host->init)) {
        return error_set(err, EBUSY, "%s is switched off already", host->name);
    }
    result = node_kill(host, err);
    return result < 0 ? result : registry_save(&lab, err);
}

/* As in up: written down before it may live on its own. */
static int start_host(struct lab *lab, struct lab_node *host, const struct lab_programs *programs,
                      struct error *err)
{
    CLEANUP_CLOSE int line = node_start(lab, host, programs, err);
    if (line < 0) {
        return line;
    }
    int result = wiring_connect(lab, host, err);
    if (result == 0) {
        result = registry_save(lab, err);
    }
    return result < 0 ? result : node_release(host, steal_fd(&line), err);
}

int lab_power_on(const struct lab_arguments *arguments, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    struct lab_programs programs = {0};
    struct lab_node *host;
    int result = open_host(arguments, &lab, &host, err);
    if (result < 0) {
        return result;
    }
    if (process_is_alive(&host->init)) {
        return error_set(err, EBUSY, "%s is switched on already", host->name);
    }
    if (lab.agents && (result = agent_find_programs(&programs, err)) < 0) {
        return result;
    }
    result = start_host(&lab, host, &programs, err);
    if (result == 0 && lab.agents) {
        result = agent_start(&lab, host, err);
    }
    return result < 0 || !lab.agents ? result : agent_wait_until_ready(&lab, host, -1, err);
}

/* ---- cables ---- */

/* As open_host(), for the cable to the network that the second word names. */
static int open_cable(const struct lab_arguments *arguments, struct lab *lab,
                      struct lab_node **ret_host, enum lab_network *ret_network, struct error *err)
{
    int result = lab_network_find(arguments->words[1], ret_network, err);
    if (result == 0) {
        result = open_host(arguments, lab, ret_host, err);
    }
    if (result == 0 && !lab_node_is_on(*ret_host, *ret_network)) {
        error_set(err, EINVAL, "the lab %s has no network %s", lab->name, arguments->words[1]);
        return error_remedy(err, "make it with \"drover lab up --migration-networks 2\"");
    }
    return result;
}

int lab_link(const struct lab_arguments *arguments, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    struct lab_node *host;
    enum lab_network network;
    const char *state = arguments->words[2];
    if (strcmp(state, "up") != 0 && strcmp(state, "down") != 0) {
        return error_set(err, EINVAL, "a link is set \"up\" or \"down\", not \"%s\"", state);
    }
    int result = open_cable(arguments, &lab, &host, &network, err);
    return result < 0 ? result
                      : wiring_set_link(&lab, host, network, strcmp(state, "up") == 0, err);
}

int lab_rate(const struct lab_arguments *arguments, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    struct lab_node *host;
    enum lab_network network;
    uint64_t rate = 0;
    int result = 0;
    if (strcmp(arguments->words[2], "none") != 0) {
        result = units_parse_size(arguments->words[2], &rate, err);
        if (result == 0 && rate == 0) {
            return error_set(err, EINVAL, "a rate of nothing is a link that is down");
        }
    }
    if (result == 0) {
        result = open_cable(arguments, &lab, &host, &network, err);
    }
    return result < 0 ? result : wiring_limit_rate(&lab, host, network, rate, err);
}

/* ---- agent and guard ---- */

static int print_service(const char *service, const struct lab_node *host, const json_t *answer)
{
    const char *ended = json_string_value(json_object_get(answer, "ended"));
    if (ended) {
        printf("the %s of %s does not run: %s\n", service, host->name, ended);
    } else {
        printf("the %s of %s runs as process %" JSON_INTEGER_FORMAT " of that host\n", service,
               host->name, json_integer_value(json_object_get(answer, "pid")));
    }
    return 0;
}

/* What the second word says. A guard that was killed is started again at once. */
static int control(const struct lab_arguments *arguments, const char *service, struct error *err)
{
    CLEANUP_LAB struct lab lab = {.lock = -1};
    CLEANUP_JSON json_t *answer = NULL;
    struct lab_node *host;
    const char *action = arguments->words[1];
    bool agent = strcmp(service, INIT_AGENT) == 0;
    int result = open_host(arguments, &lab, &host, err);
    if (result == 0) {
        result = agent_control(&lab, host, service, action, &answer, err);
    }
    if (result < 0) {
        return result;
    }
    if (strcmp(action, INIT_STATUS) == 0) {
        return print_service(service, host, answer);
    }
    if (strcmp(action, INIT_START) == 0) {
        return agent ? agent_wait_until_ready(&lab, host, -1, err) : 0;
    }
    return agent || strcmp(action, INIT_STOP) == 0
               ? agent_wait_until_stopped(&lab, host, service, err)
               : 0;
}

int lab_agent(const struct lab_arguments *arguments, struct error *err)
{
    return control(arguments, INIT_AGENT, err);
}

int lab_guard(const struct lab_arguments *arguments, struct error *err)
{
    return control(arguments, INIT_GUARD, err);
}
