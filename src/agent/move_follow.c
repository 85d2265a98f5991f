/* Following a mover: see move_follow.h. */
#include "agent/move_follow.h"

#include <inttypes.h>
#include <string.h>

#include "agent/launch.h"
#include "agent/strays.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "mover/control.h"

#define POLL_NS (100 * NANOSECONDS_PER_MILLISECOND)
#define RETRY_NS NANOSECONDS_PER_SECOND
#define CANCEL_PATIENCE_NS (45 * NANOSECONDS_PER_SECOND) /* then the mover is taken for hung */
#define END_PATIENCE_NS (5 * NANOSECONDS_PER_SECOND)

/* ---- ownership ---- */

void move_read_owner(const struct vm *vm, struct lease *ret_owner)
{
    struct error err = ERROR_NONE;
    while (lease_read(&vm->datastore, vm->config.name, ret_owner, &err) < 0) {
        log_error("waiting to learn who owns VM %s: %s", vm->config.name, err.message);
        clock_sleep_ns(RETRY_NS);
    }
}

int move_decide(struct agent *agent, const struct vm *vm, const struct move_record *move,
                bool *ret_destination, struct error *err)
{
    struct lease owner;
    const char *destination = move->role == RECORD_SOURCE ? move->peer : agent->config->host;
    /* Both sides name the other: the source hands over, the destination hands back. */
    int result = lease_advance(&vm->datastore, vm->config.name, move->epoch, move->peer, err);
    if (result == 0) {
        *ret_destination = move->role == RECORD_SOURCE;
        return 0;
    }
    if (result != -EEXIST || lease_read(&vm->datastore, vm->config.name, &owner, err) < 0) {
        return -EAGAIN;
    }
    *ret_destination = strcmp(owner.host, destination) == 0;
    return 0;
}

/* ---- the conversation ---- */

struct conversation {
    struct agent *agent;
    const struct vm *vm;
    const struct move_record *move;
    const struct move_watcher *watcher;
    struct mover_control control;
    bool asked;            /* the mover waits for an answer */
    uint64_t ask_again_at; /* after the datastore failed */
    uint64_t cancelled_at; /* 0: not yet */
};

static void close_control(struct mover_control *control)
{
    if (control->fd >= 0) {
        mover_control_done(control);
        control->fd = -1;
    }
}

static int connect_control(struct conversation *conversation)
{
    CLEANUP_FREE char *path =
        record_path(conversation->agent->config, conversation->vm->config.uuid, "mover.sock");
    if (conversation->control.fd >= 0) {
        return 0;
    }
    conversation->asked = false; /* it repeats its question */
    return path ? mover_control_connect(&conversation->control, path, NULL) : -ENOMEM;
}

static void answer(struct conversation *conversation)
{
    struct error err = ERROR_NONE;
    bool destination;
    if (!conversation->asked || clock_monotonic_ns() < conversation->ask_again_at) {
        return;
    }
    if (move_decide(conversation->agent, conversation->vm, conversation->move, &destination, &err) <
        0) {
        log_error("VM %s: the switchover waits for the datastore: %s",
                  conversation->vm->config.name, err.message);
        conversation->ask_again_at = clock_monotonic_ns() + RETRY_NS;
        return;
    }
    conversation->asked = false;
    mover_control_answer(&conversation->control, destination ? "destination" : "source", NULL);
}

/* True when the move must be given up for hung. */
static bool pass_on_cancel(struct conversation *conversation)
{
    const struct move_watcher *watcher = conversation->watcher;
    uint64_t now = clock_monotonic_ns();
    if (conversation->cancelled_at == 0 && watcher->cancelled(watcher->context)) {
        conversation->cancelled_at = now;
        mover_control_cancel(&conversation->control, NULL);
    }
    return conversation->cancelled_at != 0 &&
           now - conversation->cancelled_at > CANCEL_PATIENCE_NS && !conversation->asked;
}

static enum move_end read_result(const json_t *event, json_t **ret_statistics, struct error *err)
{
    const char *outcome = json_string_value(json_object_get(event, "outcome"));
    *ret_statistics = json_incref(json_object_get(event, "statistics"));
    if (outcome && strcmp(outcome, "moved") == 0) {
        return MOVE_END_MOVED;
    }
    json_to_error(event, err);
    return outcome && strcmp(outcome, "stayed") == 0 ? MOVE_END_STAYED : MOVE_END_STRANDED;
}

/* One event, or none; true when it was the result. */
static bool take_event(struct conversation *conversation, enum move_end *ret_end,
                       json_t **ret_statistics, struct error *err)
{
    CLEANUP_JSON json_t *event = NULL;
    const struct move_watcher *watcher = conversation->watcher;
    int result = mover_control_next(&conversation->control, POLL_NS, &event, NULL);
    if (result < 0) {
        close_control(&conversation->control);
    }
    const char *kind = result > 0 ? json_string_value(json_object_get(event, "event")) : NULL;
    if (!kind) {
        return false;
    }
    if (strcmp(kind, "question") == 0) {
        conversation->asked = true;
        conversation->ask_again_at = 0;
    } else if (strcmp(kind, "progress") == 0 && watcher->progress) {
        watcher->progress(watcher->context, event);
    } else if (strcmp(kind, "result") == 0) {
        *ret_end = read_result(event, ret_statistics, err);
        return true;
    }
    return false;
}

static enum move_end converse(struct conversation *conversation, json_t **ret_statistics,
                              struct error *err)
{
    enum move_end end = MOVE_END_GONE;
    const struct move_record *move = conversation->move;
    while (process_is_alive(&move->mover)) {
        if (connect_control(conversation) < 0) {
            clock_sleep_ns(POLL_NS);
            continue;
        }
        if (take_event(conversation, &end, ret_statistics, err)) {
            return end;
        }
        if (conversation->control.fd >= 0) {
            answer(conversation);
            if (pass_on_cancel(conversation)) {
                error_set(err, ETIMEDOUT, "the mover of VM %s did not give up when asked to",
                          conversation->vm->config.name);
                return MOVE_END_GONE;
            }
        }
    }
    if (move->mover.pid == 0) {
        error_set(err, EIO, "the agent of host %s died before it had started the mover",
                  conversation->agent->config->host);
    } else {
        error_set(err, EIO, "the mover of VM %s (process %d) died", conversation->vm->config.name,
                  (int)move->mover.pid);
    }
    return MOVE_END_GONE;
}

enum move_end move_follow(struct agent *agent, const struct vm *vm, const struct move_record *move,
                          const struct move_watcher *watcher, json_t **ret_statistics,
                          struct error *err)
{
    struct conversation conversation = {
        .agent = agent, .vm = vm, .move = move, .watcher = watcher, .control = {.fd = -1}};
    *ret_statistics = NULL;
    enum move_end end = converse(&conversation, ret_statistics, err);
    close_control(&conversation.control);
    return end;
}

/* ---- afterwards ---- */

/* Tells the mover that its result was taken, and waits until it hangs up: it says all it has to say
 * first, and a connection that is closed under it would take our word along. */
static int tell_end(struct agent *agent, const struct vm *vm)
{
    struct mover_control control = {.fd = -1};
    CLEANUP_FREE char *path = record_path(agent->config, vm->config.uuid, "mover.sock");
    int result = path ? mover_control_connect(&control, path, NULL) : -ENOMEM;
    if (result < 0) {
        return result;
    }
    result = mover_control_end(&control, NULL);
    while (result >= 0) {
        CLEANUP_JSON json_t *event = NULL;
        result = mover_control_next(&control, END_PATIENCE_NS, &event, NULL);
        if (result == 0) {
            mover_control_done(&control);
            return -ETIMEDOUT;
        }
    }
    mover_control_done(&control);
    return 0;
}

/* What runs as the mover's user, and the record that there is a move. */
static void forget_mover(struct agent *agent, const struct vm *vm)
{
    struct error err = ERROR_NONE;
    if (strays_kill(launch_mover_uid(agent, vm), &err) < 0 ||
        record_remove_move(agent->config, vm->config.uuid, &err) < 0) {
        log_error("after the move of VM %s: %s", vm->config.name, err.message);
    }
}

void move_let_go(struct agent *agent, const struct vm *vm, const struct move_record *move)
{
    struct error err = ERROR_NONE;
    if (!process_is_alive(&move->mover) || tell_end(agent, vm) < 0) {
        forget_mover(agent, vm);
    } else if (watch_add(agent->watch, vm->config.uuid, &move->mover, &err) < 0 ||
               record_remove_move(agent->config, vm->config.uuid, &err) < 0) {
        log_error("after the move of VM %s: %s", vm->config.name, err.message);
    }
}

void move_dismiss(struct agent *agent, const struct vm *vm, const struct move_record *move)
{
    if (process_is_alive(&move->mover) && tell_end(agent, vm) == 0) {
        process_wait(&move->mover, END_PATIENCE_NS, NULL);
    }
    forget_mover(agent, vm);
}
