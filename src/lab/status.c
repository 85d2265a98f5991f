/* `drover lab status`: the nodes, as a table or as JSON. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "lab/agent.h"
#include "lab/command.h"
#include "lab/init.h"

static const char *kind_name(enum lab_node_kind kind)
{
    static const char *const names[] = {
        [LAB_NODE_SWITCH] = "switch", [LAB_NODE_CLIENT] = "client", [LAB_NODE_HOST] = "host"};
    return names[kind];
}

static json_t *addresses_of(const struct lab_node *node)
{
    json_t *addresses = json_object();
    for (int i = 0; i < LAB_NETWORKS; i++) {
        char address[LAB_ADDRESS_SIZE];
        if (lab_node_address(node, (enum lab_network)i, address)) {
            json_object_set_new(addresses, lab_networks[i].name, json_string(address));
        }
    }
    return addresses;
}

/* "running" (answers), "silent" (runs, does not answer), "stopped", or "none" in such a lab. */
static const char *agent_state(const struct lab *lab, const struct lab_node *node, json_t **ret_vms)
{
    CLEANUP_JSON json_t *answer = NULL;
    if (!lab->agents || agent_control(lab, node, INIT_AGENT, INIT_STATUS, &answer, NULL) < 0) {
        return lab->agents ? "stopped" : "none";
    }
    if (json_object_get(answer, "ended")) {
        return "stopped";
    }
    return agent_get(node, "/v1/vms", ret_vms, NULL) == 0 ? "running" : "silent";
}

static json_t *vms_of(const json_t *answer)
{
    json_t *vms = json_array();
    size_t index;
    json_t *vm;
    json_array_foreach (json_object_get(answer, "vms"), index, vm) {
        json_t *name = json_object_get(vm, "name");
        json_t *state = json_object_get(vm, "state");
        if (json_is_string(name) && json_is_string(state)) {
            json_array_append_new(vms, json_pack("{s:O,s:O}", "name", name, "state", state));
        }
    }
    return vms;
}

static json_t *describe_node(const struct lab *lab, const struct lab_node *node)
{
    bool running = process_is_alive(&node->init);
    json_t *value =
        json_pack("{s:s,s:s,s:s,s:o}", "name", node->name, "kind", kind_name(node->kind), "state",
                  running ? "on" : "off", "addresses", addresses_of(node));
    json_object_set_new(value, "pid", running ? json_integer(node->init.pid) : json_null());
    if (node->kind == LAB_NODE_HOST) {
        CLEANUP_JSON json_t *vms = NULL;
        const char *agent = running ? agent_state(lab, node, &vms) : "stopped";
        json_object_set_new(value, "agent", json_string(agent));
        json_object_set_new(value, "vms", vms_of(vms));
    }
    return value;
}

static json_t *describe(const struct lab *lab)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < lab->node_count; i++) {
        json_array_append_new(nodes, describe_node(lab, &lab->nodes[i]));
    }
    return json_pack("{s:s,s:s,s:o}", "name", lab->name, "folder", lab->folder, "nodes", nodes);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static void print_row(const json_t *node)
{
    const json_t *addresses = json_object_get(node, "addresses");
    const json_t *pid = json_object_get(node, "pid");
    char pid_text[16] = "-";
    if (json_is_integer(pid)) {
        snprintf(pid_text, sizeof(pid_text), "%d", (int)json_integer_value(pid));
    }
    printf("%-7s %-5s %-8s %-11s %-11s %-12s %-8s", text_of(node, "name"), text_of(node, "state"),
           pid_text, text_of(addresses, "vm"), text_of(addresses, "migration"),
           text_of(addresses, "management"), text_of(node, "agent"));
    size_t index;
    json_t *vm;
    json_array_foreach (json_object_get(node, "vms"), index, vm) {
        printf("%s%s (%s)", index ? ", " : " ", text_of(vm, "name"), text_of(vm, "state"));
    }
    printf("\n");
}

static void print_table(const json_t *lab)
{
    size_t index;
    json_t *node;
    printf("lab %s in %s\n\n", text_of(lab, "name"), text_of(lab, "folder"));
    printf("%-7s %-5s %-8s %-11s %-11s %-12s %-8s %s\n", "NODE", "POWER", "PID", "VM", "MIGRATION",
           "MANAGEMENT", "AGENT", "VMS");
    json_array_foreach (json_object_get(lab, "nodes"), index, node) {
        print_row(node);
    }
}

int lab_status(const struct lab_arguments *arguments, struct error *err)
{
    struct lab lab;
    int result = registry_look(arguments->lab_name, &lab, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *value = describe(&lab);
    if (arguments->json) {
        json_dumpf(value, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        print_table(value);
    }
    return 0;
}
