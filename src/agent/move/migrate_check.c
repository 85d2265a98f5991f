/* The checks before a move: see migrate_check.h. */
#include "agent/move/migrate_check.h"

#include <string.h>

#include "agent/host_facts.h"
#include "agent/move/checks.h"
#include "agent/peer.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/launch.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"

#define CHECK_TIMEOUT_NS (20 * NANOSECONDS_PER_SECOND)

static void list_peers(const struct agent_config *config, struct error *err)
{
    CLEANUP_BUFFER struct buffer names = {0};
    for (size_t i = 0; i < config->peer_count && i < 10; i++) {
        buffer_append_format(&names, "%s%s", i > 0 ? ", " : "", config->peers[i].name);
    }
    buffer_append(&names, "", 1);
    error_remedy(err, "it knows: %s%s", names.data ? (char *)names.data : "",
                 config->peer_count > 10 ? ", ..." : "");
}

const struct config_peer *migrate_peer(const struct agent *agent, const char *to, struct error *err)
{
    const struct config_peer *peer = config_peer(agent->config, to);
    if (strcmp(to, agent->config->host) == 0) {
        error_set(err, EINVAL, "the VM is on host %s already", to);
        error_remedy(err, "name another host");
        return NULL;
    }
    if (!peer) {
        error_set(err, ENOENT, "host %s knows no host %s", agent->config->host, to);
        list_peers(agent->config, err);
    }
    return peer;
}

/* What the source knows of a move without asking the destination. */
static struct checks_move facts_here(const struct agent *agent, const struct vm *vm,
                                     const struct migrate_options *options, const json_t *source)
{
    return (struct checks_move){
        .config = &vm->config,
        .vm_state = vm_state_name(vm->state),
        .accelerator = launch_accelerator(agent, vm),
        .datastore_name = vm->datastore.name,
        .datastore_uuid = vm->datastore.uuid,
        .engine = options->engine,
        .vm_obstacle = vm->has_runtime ? descriptors_obstacle(agent, vm) : NULL,
        .blackout_ms = options->blackout_target_ns / NANOSECONDS_PER_MILLISECOND,
        .timeout_s = options->timeout_ns / NANOSECONDS_PER_SECOND,
        .stop_at_timeout = options->on_timeout == ENGINE_ON_TIMEOUT_STOP,
        .source = source,
    };
}

void migrate_choose_engine(const struct agent *agent, const struct vm *vm,
                           const struct migrate_options *options, struct engine_choice *ret_choice)
{
    CLEANUP_JSON json_t *source = host_facts_of_source(agent);
    struct checks_move move = facts_here(agent, vm, options, source);
    engine_choose(&move, ret_choice);
}

json_t *migrate_request(const struct agent *agent, const struct vm *vm, bool native)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:o}", "vm", vm_config_to_json(&vm->config),
                     "datastore_uuid", vm->datastore.uuid, "datastore_name", vm->datastore.name,
                     "accelerator", launch_accelerator(agent, vm), "engine",
                     native ? "native" : "drover", "source", host_facts_of_source(agent));
}

static json_t *check_here(const struct agent *agent, const struct vm *vm,
                          const struct config_peer *peer, const struct migrate_options *options)
{
    CLEANUP_JSON json_t *source = host_facts_of_source(agent);
    CLEANUP_JSON json_t *destination = json_pack("{s:s}", "name", peer->name);
    struct checks_move move = facts_here(agent, vm, options, source);
    move.destination = destination;
    return checks_of_source(&move);
}

int migrate_checks(struct agent *agent, const struct vm *vm, const struct config_peer *peer,
                   const struct migrate_options *options, json_t **ret_checks, struct error *err)
{
    struct engine_choice choice;
    migrate_choose_engine(agent, vm, options, &choice);
    CLEANUP_JSON json_t *checks = check_here(agent, vm, peer, options);
    CLEANUP_JSON json_t *request = migrate_request(agent, vm, choice.which == ENGINE_CHOICE_NATIVE);
    CLEANUP_JSON json_t *answer = NULL;
    if (!checks || !request) {
        return error_set_errno(err, ENOMEM, "cannot check the move of VM %s", vm->config.name);
    }
    int result = peer_call(agent, peer, "POST", "/v1/incoming/check", request, CHECK_TIMEOUT_NS,
                           &answer, err);
    if (result < 0) {
        return result;
    }
    json_t *there = json_object_get(answer, "checks");
    if (!json_is_array(there)) {
        return error_set(err, EPROTO, "host %s answers without a list of checks", peer->name);
    }
    json_array_extend(checks, there);
    *ret_checks = json_incref(checks);
    return 0;
}

json_t *migrate_verdict(json_t *checks)
{
    return json_pack("{s:s, s:o}", "verdict", checks_verdict(checks), "checks", checks);
}

int migrate_refuse(const char *to, const json_t *checks, struct error *err)
{
    CLEANUP_BUFFER struct buffer reasons = {0};
    struct error first = ERROR_NONE;
    size_t index;
    json_t *check;
    if (checks_to_error(checks, &first) == 0) {
        return 0;
    }
    json_array_foreach ((json_t *)checks, index, check) {
        const char *level = json_string_value(json_object_get(check, "level"));
        const char *message = json_string_value(json_object_get(check, "message"));
        if (level && message && strcmp(level, "block") == 0) {
            buffer_append_format(&reasons, "%s%s", reasons.length > 0 ? "; " : "", message);
        }
    }
    buffer_append(&reasons, "", 1);
    error_set(err, ENOTSUP, "it cannot move to host %s: %s", to,
              reasons.data ? (char *)reasons.data : first.message);
    return error_remedy(err, "%s", first.remedy);
}
