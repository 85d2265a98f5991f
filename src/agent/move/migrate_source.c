/* A move, from the side that the VM leaves: see migrate_source.h. */
#include "agent/move/migrate_source.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/encryption.h"
#include "agent/move/checks.h"
#include "agent/move/forecast.h"
#include "agent/move/link_rate.h"
#include "agent/move/migrate_check.h"
#include "agent/move/migration_paths.h"
#include "agent/move/populate.h"
#include "agent/move/sampling.h"
#include "agent/move/source_move.h"
#include "agent/peer.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/launch.h"
#include "agent/vm/lifecycle.h"
#include "agent/vm/ownership.h"
#include "agent/vm/strays.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "mover/setup.h"

#define RESERVE_TIMEOUT_NS (60 * NANOSECONDS_PER_SECOND)
#define LOOK_NS (300 * NANOSECONDS_PER_MILLISECOND) /* at the guest, for the forecast */

/* ---- reserve ---- */

static int read_place(const struct source_move *move, const json_t *answer,
                      struct mover_setup *setup, struct error *err)
{
    struct migration_local locals[MOVER_PATHS_MOST];
    size_t count;
    migration_locals(move->agent->config, locals, &count);
    int result = migration_paths(locals, count, answer, setup, err);
    if (result == 0) {
        result = encryption_settle(move->agent->config->migration_encryption, answer, setup, err);
    }
    return result < 0 ? error_wrap(err, "host %s", move->to) : 0;
}

/* Where the VM has memory, so that the destination takes pages for it ahead. NULL: not known, and
 * no harm. */
static json_t *describe_memory(const struct source_move *move)
{
    const struct vm_config *config = &move->vm.config;
    CLEANUP_FREE char *path = record_ram_path(move->agent->config, config->uuid);
    CLEANUP_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    return fd < 0 ? NULL : populate_describe(fd, config->memory_mib << 20);
}

/* The destination starts the shadow VM and its mover. */
static int reserve(struct source_move *move, const struct config_peer *peer,
                   struct mover_setup *setup, struct error *err)
{
    const struct agent_config *config = move->agent->config;
    CLEANUP_JSON json_t *request = migrate_request(move->agent, &move->vm, move->record.native);
    CLEANUP_JSON json_t *answer = NULL;
    random_bytes(setup->token, sizeof(setup->token));
    hex_encode(setup->token, sizeof(setup->token), move->token);
    if (!request || json_object_set_new(request, "move_id", json_string(move->record.move_id)) ||
        json_object_set_new(request, "token", json_string(move->token)) ||
        json_object_set_new(request, "owner_epoch", json_integer((json_int_t)move->record.epoch))) {
        return error_set_errno(err, ENOMEM, "cannot prepare the move of VM %s",
                               move->vm.config.name);
    }
    json_object_set_new(request, "populated", describe_memory(move));
    int result = encryption_offer(config->migration_encryption, request, setup, err);
    if (result == 0) {
        result = peer_call(move->agent, peer, "POST", "/v1/incoming", request, RESERVE_TIMEOUT_NS,
                           &answer, err);
    }
    return result < 0 ? result : read_place(move, answer, setup, err);
}

/* ---- the mover ---- */

static void fill_setup(const struct source_move *move, struct mover_setup *setup)
{
    struct engine_source_options *options = &setup->options;
    setup->role = MOVER_ROLE_SOURCE;
    setup->engine = move->record.native ? MOVER_ENGINE_NATIVE : MOVER_ENGINE_DROVER;
    snprintf(setup->move_id, sizeof(setup->move_id), "%s", move->record.move_id);
    snprintf(setup->vm_name, sizeof(setup->vm_name), "%s", move->vm.config.name);
    memcpy(options->token, setup->token, sizeof(options->token));
    snprintf(options->move_id, sizeof(options->move_id), "%s", move->record.move_id);
    migrate_options_apply(&move->options, options);
    options->device_state_ns = MIGRATE_DEVICE_STATE_NS;
}

static int start_mover(struct source_move *move, struct mover_setup *setup, struct error *err)
{
    const struct agent_config *config = move->agent->config;
    const char *uuid = move->vm.config.uuid;
    uid_t uid = launch_mover_uid(move->agent, &move->vm);
    CLEANUP_FREE char *control = record_path(config, uuid, "mover.sock");
    CLEANUP_FREE char *log = record_log_path(config, move->vm.config.name, "mover");
    if (!control || !log) {
        return error_set_errno(err, ENOMEM, "cannot start the mover");
    }
    fill_setup(move, setup);
    int result = strays_kill(uid, err); /* of the move here, if that is only just over */
    if (result == 0) {
        result = record_save_move(config, uuid, &move->record, err);
    }
    if (result == 0) {
        result = descriptors_open(move->agent, &move->vm, setup, err);
    }
    if (result < 0) {
        return result;
    }
    result =
        mover_start(setup, move->agent->mover_program, control, log, uid, &move->record.mover, err);
    descriptors_close(setup);
    return result < 0 ? result : record_save_move(config, uuid, &move->record, err);
}

/* ---- the task ---- */

static int refuse(const struct source_move *move, struct error *err)
{
    return error_wrap(err, "VM %s stays on host %s", move->vm.config.name,
                      move->agent->config->host);
}

static int check(struct source_move *move, const struct config_peer *peer, struct error *err)
{
    CLEANUP_JSON json_t *checks = NULL;
    struct vm before = move->vm;
    before.state = VM_STATE_RUNNING; /* that it is migrating now is this very move's doing */
    int result = migrate_checks(move->agent, &before, peer, &move->options, &checks, err);
    if (result == 0) {
        result = migrate_refuse(move->to, checks, err);
    }
    if (result == 0 && task_is_cancelled(move->task)) {
        result = error_set(err, ECANCELED, "the move was cancelled");
    }
    return result < 0 ? refuse(move, err) : 0;
}

static void choose_engine(struct source_move *move)
{
    struct engine_choice choice;
    migrate_choose_engine(move->agent, &move->vm, &move->options, &choice);
    move->record.native = choice.which == ENGINE_CHOICE_NATIVE;
    snprintf(move->record.engine_reason, sizeof(move->record.engine_reason), "%s",
             choice.by_itself ? choice.obstacle : "");
}

/* Nothing was made here yet. */
static int give_up(struct source_move *move, const struct error *err)
{
    lifecycle_release_running(move->agent, &move->vm);
    return -err->code;
}

/* From the datastore: the destination of an earlier move may have handed the VM back, in a new
 * epoch, after this host had seen that move end. */
static int read_epoch(struct source_move *move, struct error *err)
{
    struct vm *vm = &move->vm;
    struct lease lease;
    const char *self = move->agent->config->host;
    if (ownership_read(move->agent, vm, &lease, err) < 0) {
        return refuse(move, err);
    }
    if (strcmp(lease.host, self) != 0) {
        return error_set(err, EBUSY, "VM %s is owned by host %s, not by host %s", vm->config.name,
                         lease.host, self);
    }
    vm->owner = lease;
    move->record.epoch = lease.epoch;
    return 0;
}

/* The engine knows what makes its own moves long; of QEMU's it does not. */
static json_t *no_forecast(void)
{
    struct error reason = ERROR_NONE;
    error_set(&reason, ENOTSUP, "QEMU's own migration is not forecast");
    return forecast_missing(&reason);
}

/* The look at the guest takes the time that the destination needs anyway, and no more. */
static int reserve_and_look(struct source_move *move, const struct config_peer *peer,
                            struct mover_setup *setup, struct error *err)
{
    struct error reason = ERROR_NONE;
    struct engine_sample sample;
    struct sampling *sampling;
    struct link_rate link = link_rate_of(move->agent->config, move->to);
    if (move->record.native) {
        move->forecast = no_forecast();
        return reserve(move, peer, setup, err);
    }
    int looking = sampling_begin(move->agent, &move->vm, true, LOOK_NS, &sampling, &reason);
    int result = reserve(move, peer, setup, err);
    if (looking == 0) {
        looking = sampling_end(sampling, true, &sample, &reason);
    }
    move->forecast =
        looking == 0 ? forecast_to_json(&sample, &link, &move->options) : forecast_missing(&reason);
    return result;
}

/* Written down before the destination is asked: an agent that dies over it leaves word to the next
 * one that something may be there. */
static int record_and_reserve(struct source_move *move, const struct config_peer *peer,
                              struct mover_setup *setup, struct error *err)
{
    const struct agent_config *config = move->agent->config;
    struct error after = ERROR_NONE;
    int result = read_epoch(move, err);
    if (result < 0) {
        return result;
    }
    if (record_save_move(config, move->vm.config.uuid, &move->record, err) < 0) {
        return refuse(move, err);
    }
    result = reserve_and_look(move, peer, setup, err);
    if (result < 0) {
        source_move_discard(move); /* an answer that was too late */
        source_move_explain(move, err);
        if (record_remove_move(config, move->vm.config.uuid, &after) < 0) {
            log_error("VM %s: %s", move->vm.config.name, after.message);
        }
    }
    return result;
}

static void source_move_free(struct source_move *move)
{
    if (move) {
        json_decref(move->forecast);
        free(move);
    }
}

static void cleanup_source_move(struct source_move **move)
{
    source_move_free(*move);
}

#define CLEANUP_SOURCE_MOVE CLEANUP(cleanup_source_move)

static int migrate_task(struct task *task, void *context, struct error *err)
{
    CLEANUP_SOURCE_MOVE struct source_move *move = context;
    struct mover_setup setup = {0};
    const struct config_peer *peer = config_peer(move->agent->config, move->to);
    move->task = task;
    sampling_drive_out(move->agent, move->vm.config.uuid);
    task_set_phase(task, "check");
    if (check(move, peer, err) < 0) {
        return give_up(move, err);
    }
    choose_engine(move);
    task_set_phase(task, "reserve");
    if (record_and_reserve(move, peer, &setup, err) < 0) {
        return give_up(move, err);
    }
    task_set_phase(task, "connect");
    int result = start_mover(move, &setup, err);
    encryption_forget(&setup);
    if (result < 0) {
        return source_move_undo(move, err);
    }
    return source_move_follow(move, err);
}

static int resume_task(struct task *task, void *context, struct error *err)
{
    CLEANUP_SOURCE_MOVE struct source_move *move = context;
    move->task = task;
    task_set_phase(task, "connect");
    return source_move_follow(move, err);
}

/* ---- the calls ---- */

static struct source_move *source_move_new(struct agent *agent, const char *to)
{
    struct source_move *move = calloc(1, sizeof(*move));
    if (move) {
        move->agent = agent;
        snprintf(move->to, sizeof(move->to), "%s", to);
    }
    return move;
}

static int claim(struct source_move *move, const char *uuid, const char *task, struct error *err)
{
    int result =
        inventory_claim(move->agent->inventory, uuid, VM_STATE_MIGRATING, task, &move->vm, err);
    if (result == 0) {
        move->record = (struct move_record){.role = RECORD_SOURCE, .epoch = move->vm.owner.epoch};
        uuid_generate(move->record.move_id);
        snprintf(move->record.peer, sizeof(move->record.peer), "%s", move->to);
    }
    return result;
}

/* A VM that does not run is refused with all its other reasons by the checks of a dry run; here the
 * first is enough. */
int migrate_start(struct agent *agent, const char *name, const struct migrate_options *options,
                  char ret_task[UUID_TEXT_SIZE], struct error *err)
{
    struct vm found;
    if (!migrate_peer(agent, options->to, err)) {
        return -err->code;
    }
    int result = agent_find_vm(agent, name, &found, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_SOURCE_MOVE struct source_move *move = source_move_new(agent, options->to);
    struct task *task = task_new(agent->tasks, "migrate", found.config.name);
    if (!move || !task) {
        task_discard(task);
        return error_set_errno(err, ENOMEM, "cannot move VM %s", found.config.name);
    }
    move->options = *options;
    move->options.to = move->to;
    snprintf(ret_task, UUID_TEXT_SIZE, "%s", task_id(task));
    result = claim(move, found.config.uuid, ret_task, err);
    if (result < 0) {
        task_discard(task);
        return result;
    }
    result = task_run(task, migrate_task, move, err);
    if (result < 0) {
        give_up(move, err);
        return result;
    }
    steal_pointer(&move);
    return 0;
}

int migrate_resume(struct agent *agent, const struct vm *vm, const struct move_record *record,
                   struct error *err)
{
    CLEANUP_SOURCE_MOVE struct source_move *move = source_move_new(agent, record->peer);
    struct task *task = task_new(agent->tasks, "migrate", vm->config.name);
    if (!move || !task) {
        task_discard(task);
        return error_set_errno(err, ENOMEM, "cannot follow the move of VM %s", vm->config.name);
    }
    move->vm = *vm;
    move->record = *record;
    move->resumed = true;
    snprintf(move->vm.task, sizeof(move->vm.task), "%s", task_id(task));
    int result = inventory_add(agent->inventory, &move->vm, err);
    if (result < 0) {
        task_discard(task);
        return result;
    }
    result = task_run(task, resume_task, move, err);
    if (result == 0) {
        steal_pointer(&move);
    }
    return result;
}

int migrate_check(struct agent *agent, const char *name, const struct migrate_options *options,
                  json_t **ret_verdict, struct error *err)
{
    struct vm vm;
    json_t *checks;
    int result = agent_find_vm(agent, name, &vm, err);
    if (result < 0) {
        return result;
    }
    const struct config_peer *peer = migrate_peer(agent, options->to, err);
    if (!peer) {
        return -err->code;
    }
    result = migrate_checks(agent, &vm, peer, options, &checks, err);
    if (result < 0) {
        return result;
    }
    struct engine_choice choice;
    migrate_choose_engine(agent, &vm, options, &choice);
    bool blocked = strcmp(checks_verdict(checks), "block") == 0;
    bool native = choice.which == ENGINE_CHOICE_NATIVE;
    json_t *forecast = blocked  ? json_null()
                       : native ? no_forecast()
                                : forecast_make(agent, &vm, options);
    forecast_check(forecast, options, checks);
    *ret_verdict = migrate_verdict(checks);
    json_object_set_new(*ret_verdict, "engine",
                        blocked ? json_null() : json_string(native ? "native" : "drover"));
    json_object_set_new(*ret_verdict, "forecast", forecast);
    return 0;
}
