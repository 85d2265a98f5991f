/* A move, from the side that the VM comes to: see migrate_destination.h. */
#include "agent/move/migrate_destination.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/encryption.h"
#include "agent/guarding.h"
#include "agent/host_facts.h"
#include "agent/move/checks.h"
#include "agent/move/incoming.h"
#include "agent/move/migrate_check.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/launch.h"
#include "agent/vm/ownership.h"
#include "agent/vm/vm_json.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"
#include "base/socket.h"
#include "mover/setup.h"

#define SILENCE_LIMIT_NS (15 * NANOSECONDS_PER_SECOND)
#define CANCEL_TIMEOUT_NS (55 * NANOSECONDS_PER_SECOND)

/* ---- checks ---- */

/* What a source's agent says of a move. */
struct offer {
    struct vm_config config;
    const char *datastore_uuid;
    const char *datastore_name; /* at the source; NULL: not told */
    const char *accelerator;
    bool native; /* by QEMU's own migration */
    const char *source_host;
    const json_t *source;
};

static int read_engine(const json_t *body, struct offer *offer, struct error *err)
{
    static const char *const engines[] = {"drover", "native", NULL};
    int engine;
    int result = json_get_choice_or(body, "the offer", "engine", engines, 0, &engine, err);
    if (result == 0) {
        offer->native = engine == 1;
    }
    return result;
}

static int read_offer(const json_t *body, struct offer *offer, struct error *err)
{
    json_t *source;
    int result = vm_config_from_json(json_object_get(body, "vm"), "\"vm\"", &offer->config, err);
    if (result == 0) {
        result = json_get_string(body, "the offer", "datastore_uuid", &offer->datastore_uuid, err);
    }
    if (result == 0) {
        result = json_get_string(body, "the offer", "accelerator", &offer->accelerator, err);
    }
    if (result == 0) {
        result = json_get_object_or_null(body, "the offer", "source", &source, err);
    }
    if (result == 0) {
        result = json_get_string(source, "the offer's source", "name", &offer->source_host, err);
    }
    if (result == 0) {
        result = read_engine(body, offer, err);
    }
    if (result == 0) {
        offer->source = source;
        offer->datastore_name = json_string_value(json_object_get(body, "datastore_name"));
    }
    return result;
}

static json_t *list_vms(struct agent *agent, struct error *err)
{
    CLEANUP_FREE struct vm *vms = NULL;
    size_t count;
    agent_refresh(agent);
    if (inventory_all(agent->inventory, &vms, &count, err) < 0) {
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, vm_to_json(agent, &vms[i]));
    }
    return list;
}

static int check_offer(struct agent *agent, const struct offer *offer, json_t **ret_checks,
                       struct error *err)
{
    CLEANUP_JSON json_t *vms = list_vms(agent, err);
    CLEANUP_JSON json_t *facts = vms ? host_facts(agent, err) : NULL;
    if (!facts) {
        return -err->code;
    }
    struct checks_move move = {
        .config = &offer->config,
        .accelerator = offer->accelerator,
        .datastore_name = offer->datastore_name,
        .datastore_uuid = offer->datastore_uuid,
        .source = offer->source,
        .destination = facts,
        .destination_vms = vms,
    };
    *ret_checks = checks_of_destination(&move);
    return *ret_checks ? 0 : error_set_errno(err, ENOMEM, "cannot check the move");
}

int incoming_check(struct agent *agent, const json_t *body, json_t **ret_verdict, struct error *err)
{
    CLEANUP_FREE struct offer *offer = calloc(1, sizeof(*offer));
    json_t *checks;
    if (!offer) {
        return error_set_errno(err, ENOMEM, "cannot check the move");
    }
    int result = read_offer(body, offer, err);
    if (result == 0) {
        result = check_offer(agent, offer, &checks, err);
    }
    if (result == 0) {
        *ret_verdict = migrate_verdict(checks);
    }
    return result;
}

/* ---- the beginning ---- */

static int read_token(const json_t *body, uint8_t token[ENGINE_TOKEN_SIZE], struct error *err)
{
    const char *text;
    int result = json_get_string(body, "the offer", "token", &text, err);
    if (result < 0) {
        return result;
    }
    if (!hex_decode(text, token, ENGINE_TOKEN_SIZE)) {
        return error_set(err, EINVAL, "the offer's token must be %d hexadecimal digits",
                         2 * ENGINE_TOKEN_SIZE);
    }
    return 0;
}

static int read_record(const json_t *body, const struct offer *offer, struct move_record *record,
                       struct error *err)
{
    const char *move_id;
    int64_t epoch;
    int result = json_get_string(body, "the offer", "move_id", &move_id, err);
    if (result == 0 && !uuid_is_valid(move_id)) {
        result = error_set(err, EINVAL, "the offer's move_id is not a UUID");
    }
    if (result == 0) {
        result = json_get_integer(body, "the offer", "owner_epoch", 1, INT64_MAX - 1, &epoch, err);
    }
    if (result < 0) {
        return result;
    }
    record->role = RECORD_DESTINATION;
    record->epoch = (uint64_t)epoch;
    record->native = offer->native;
    strcpy(record->move_id, move_id);
    snprintf(record->peer, sizeof(record->peer), "%s", offer->source_host);
    return 0;
}

/* The VM as this host sees it on the datastore: the source must own it, at that epoch. */
static int find_vm(struct agent *agent, const struct offer *offer, const struct move_record *record,
                   struct vm *vm, struct error *err)
{
    int result = agent_find_vm(agent, offer->config.name, vm, err);
    if (result < 0) {
        return result;
    }
    if (strcmp(vm->config.uuid, offer->config.uuid) != 0 ||
        strcmp(vm->datastore.uuid, offer->datastore_uuid) != 0) {
        return error_set(err, EEXIST, "VM %s on host %s is another one (%s on datastore %s)",
                         vm->config.name, agent->config->host, vm->config.uuid, vm->datastore.name);
    }
    struct lease owner;
    result = ownership_read(agent, vm, &owner, err);
    if (result == 0 && (owner.epoch != record->epoch || strcmp(owner.host, record->peer) != 0)) {
        return error_set(err, EBUSY,
                         "VM %s is not owned by host %s in epoch %" PRIu64
                         ", as it says, but by \"%s\" in epoch %" PRIu64,
                         vm->config.name, record->peer, record->epoch, owner.host, owner.epoch);
    }
    return result;
}

static int start_mover(struct incoming *incoming, struct mover_setup *setup, struct error *err)
{
    struct agent *agent = incoming->agent;
    const struct vm *vm = &incoming->vm;
    uid_t uid = launch_mover_uid(agent, vm);
    CLEANUP_FREE char *control = record_path(agent->config, vm->config.uuid, "mover.sock");
    CLEANUP_FREE char *log = record_log_path(agent->config, vm->config.name, "mover");
    if (!control || !log) {
        return error_set_errno(err, ENOMEM, "cannot start the mover");
    }
    setup->role = MOVER_ROLE_DESTINATION;
    setup->engine = incoming->record.native ? MOVER_ENGINE_NATIVE : MOVER_ENGINE_DROVER;
    setup->silence_limit_ns = SILENCE_LIMIT_NS;
    snprintf(setup->move_id, sizeof(setup->move_id), "%s", incoming->record.move_id);
    snprintf(setup->vm_name, sizeof(setup->vm_name), "%s", vm->config.name);
    int result = descriptors_open(agent, vm, setup, err);
    if (result < 0) {
        return result;
    }
    result =
        mover_start(setup, agent->mover_program, control, log, uid, &incoming->record.mover, err);
    descriptors_close(setup);
    return result;
}

/* The shadow and its mover, recorded before either exists. */
static int start_both(struct incoming *incoming, struct mover_setup *setup, struct error *err)
{
    const struct agent_config *config = incoming->agent->config;
    struct vm *vm = &incoming->vm;
    struct launch_shadow shadow = {populate_begin, incoming->populate};
    uint64_t lapses;
    int result = guarding_mark(incoming->agent, &vm->datastore, &lapses, err);
    if (result < 0) {
        return result;
    }
    result = agent_admit(incoming->agent, &vm->config, err);
    if (result < 0) {
        return result;
    }
    result = launch_start(incoming->agent, vm, &shadow, lapses, err);
    if (result == 0) {
        inventory_set_runtime(incoming->agent->inventory, vm);
    }
    agent_admitted(incoming->agent, &vm->config);
    if (result < 0) {
        return result;
    }
    result = record_save_move(config, vm->config.uuid, &incoming->record, err);
    if (result == 0) {
        result = start_mover(incoming, setup, err);
    }
    if (result == 0) {
        result = record_save_move(config, vm->config.uuid, &incoming->record, err);
    }
    return result;
}

/* Undoes start_both(), whole or in part; no source has been told of the mover. */
static void undo(struct incoming *incoming, const struct error *reason)
{
    struct agent *agent = incoming->agent;
    struct vm *vm = &incoming->vm;
    struct error err = ERROR_NONE;
    incoming_end_populating(incoming);
    if (vm->has_runtime && launch_end(agent, vm, &err) < 0) {
        log_error("%s", err.message);
    }
    inventory_release(agent->inventory, vm, vm->has_runtime ? VM_STATE_FAILED : VM_STATE_ELSEWHERE);
    move_list_end(agent->moves, incoming->record.move_id, MOVE_ABANDONED, reason, NULL);
}

/* ---- where the source is to connect ---- */

/* On each of this host's migration addresses. One that cannot be used (its card is gone) does not
 * keep VMs away, as long as another can. New reference: the answer's list. */
static json_t *listen_everywhere(const struct agent_config *config, struct mover_setup *setup,
                                 struct error *err)
{
    json_t *endpoints = json_array();
    for (size_t i = 0; i < config->migration_address_count; i++) {
        const char *address = config->migration_addresses[i];
        uint16_t port;
        int listener = socket_listen_tcp(address, 0, &port, err);
        if (listener < 0) {
            log_warning("a migration address is left out: %s", err->message);
            continue;
        }
        setup->listen_fds[setup->listen_count++] = listener;
        json_array_append_new(endpoints,
                              json_pack("{s:s, s:i}", "address", address, "port", (int)port));
    }
    return endpoints;
}

static void close_listeners(struct mover_setup *setup)
{
    while (setup->listen_count > 0) {
        close_fd(&setup->listen_fds[--setup->listen_count]);
    }
}

static int begin(struct incoming *incoming, struct mover_setup *setup, json_t **ret_place,
                 struct error *err)
{
    CLEANUP_JSON json_t *endpoints = listen_everywhere(incoming->agent->config, setup, err);
    int result = setup->listen_count > 0 ? start_both(incoming, setup, err) : -err->code;
    close_listeners(setup);
    if (result == 0) {
        result = incoming_follow(incoming, err);
    }
    if (result == 0) {
        *ret_place = json_pack("{s:O}", "endpoints", endpoints);
        encryption_answer(setup, *ret_place);
    }
    return result;
}

static int claim(struct incoming *incoming, const char *uuid, struct error *err)
{
    struct agent *agent = incoming->agent;
    int result =
        move_list_begin(agent->moves, incoming->record.move_id, incoming->record.peer, err);
    if (result < 0) {
        return result;
    }
    result = inventory_claim(agent->inventory, uuid, VM_STATE_INCOMING, "", &incoming->vm, err);
    if (result < 0) {
        move_list_end(agent->moves, incoming->record.move_id, MOVE_ABANDONED, err, NULL);
    }
    return result;
}

static int check_begin(struct agent *agent, const json_t *body, struct offer *offer,
                       struct move_record *record, struct mover_setup *setup, struct error *err)
{
    CLEANUP_JSON json_t *checks = NULL;
    struct vm vm;
    if (agent->config->migration_address_count == 0) {
        error_set(err, ENOTSUP, "host %s has no migration address", agent->config->host);
        return error_remedy(err, "set \"migration_addresses\" in its configuration");
    }
    int result = read_offer(body, offer, err);
    if (result == 0) {
        result = read_record(body, offer, record, err);
    }
    if (result == 0) {
        result = read_token(body, setup->token, err);
    }
    if (result == 0) {
        result = check_offer(agent, offer, &checks, err);
    }
    if (result == 0) {
        result = migrate_refuse(agent->config->host, checks, err);
    }
    if (result == 0) {
        result = encryption_take(agent->config->migration_encryption, body, setup, err);
    }
    if (result == 0) {
        result = find_vm(agent, offer, record, &vm, err);
    }
    return result < 0 ? result : guarding_check(agent, &vm.datastore, err);
}

int incoming_begin(struct agent *agent, const json_t *body, json_t **ret_place, struct error *err)
{
    CLEANUP_FREE struct offer *offer = calloc(1, sizeof(*offer));
    CLEANUP_FREE struct incoming *incoming = calloc(1, sizeof(*incoming));
    struct mover_setup setup = {0};
    if (!offer || !incoming) {
        return error_set_errno(err, ENOMEM, "cannot take the VM in");
    }
    incoming->agent = agent;
    int result = check_begin(agent, body, offer, &incoming->record, &setup, err);
    if (result == 0) {
        result = populate_new(json_object_get(body, "populated"), offer->config.memory_mib << 20,
                              &incoming->populate, err);
    }
    if (result == 0) {
        result = claim(incoming, offer->config.uuid, err);
    }
    if (result < 0) {
        incoming_end_populating(incoming);
        return result;
    }
    result = begin(incoming, &setup, ret_place, err);
    encryption_forget(&setup);
    if (result < 0) {
        undo(incoming, err);
        return result;
    }
    steal_pointer(&incoming); /* its thread's */
    return 0;
}

int incoming_resume(struct agent *agent, const struct vm *vm, const struct move_record *record,
                    struct error *err)
{
    CLEANUP_FREE struct incoming *incoming = calloc(1, sizeof(*incoming));
    if (!incoming) {
        return error_set_errno(err, ENOMEM, "cannot follow the move of VM %s", vm->config.name);
    }
    *incoming = (struct incoming){.agent = agent, .vm = *vm, .record = *record, .resumed = true};
    int result = inventory_add(agent->inventory, vm, err);
    if (result == 0) {
        result = move_list_begin(agent->moves, record->move_id, record->peer, err);
    }
    if (result == 0) {
        result = incoming_follow(incoming, err);
    }
    if (result == 0) {
        steal_pointer(&incoming);
    }
    return result;
}

int incoming_cancel(struct agent *agent, const char *move_id, bool disowned, struct error *err)
{
    int result = move_list_cancel(agent->moves, move_id, disowned, CANCEL_TIMEOUT_NS, err);
    if (result < 0) {
        return result;
    }
    if (result == MOVE_RUNNING || result == MOVE_FAILED) {
        error_set(err, EBUSY, "move %s is complete: host %s owns the VM", move_id,
                  agent->config->host);
        return error_remedy(err, "move it back instead");
    }
    return 0;
}
