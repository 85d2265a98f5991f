/* Following a mover: see move_follow.h. */
#include "agent/move/move_follow.h"

#include <inttypes.h>
#include <string.h>

#include "agent/move/move_owner.h"
#include "agent/vm/launch.h"
#include "agent/vm/strays.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "mover/control.h"

#define POLL_NS (100 * NANOSECONDS_PER_MILLISECOND)
#define RETRY_NS NANOSECONDS_PER_SECOND
#define CANCEL_PATIENCE_NS (45 * NANOSECONDS_PER_SECOND) /* then the mover is taken for hung */
#define END_PATIENCE_NS (5 * NANOSECONDS_PER_SECOND)
#define FORGET_PATIENCE_NS (60 * NANOSECONDS_PER_SECOND)

/* A mover says something several times a second, but for the moments at which it waits for the
 * other side, the longest of them 30 s. In the switchover the guest stands still meanwhile. */
#define SILENCE_NOTED_NS (10 * NANOSECONDS_PER_SECOND)
#define SILENCE_HUNG_NS (60 * NANOSECONDS_PER_SECOND)

/* ---- the conversation ---- */

struct conversation {
    struct agent *agent;
    const struct vm *vm;
    struct move_record *move;
    const struct move_watcher *watcher;
    struct mover_control control;
    bool asked;            /* the mover waits for an answer */
    uint64_t asked_at_ns;  /* since when, by CLOCK_BOOTTIME */
    uint64_t ask_again_at; /* after the datastore failed */
    uint64_t cancelled_at; /* 0: not yet */
    bool switching;        /* from the order to stop on */
    uint64_t heard_at;     /* when the mover last said something */
    bool waiting;          /* the watcher was told of it */
    struct error refusal;  /* why the switchover was not committed */
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

/* ---- what it waits for, for the operator to see ---- */

static void tell_waiting(struct conversation *conversation, const char *what)
{
    const struct move_watcher *watcher = conversation->watcher;
    if (what || conversation->waiting) {
        watcher->waiting(watcher->context, what);
        conversation->waiting = what != NULL;
    }
}

static void note_silence(struct conversation *conversation, uint64_t silence_ns)
{
    char text[160];
    if (!conversation->asked && silence_ns > SILENCE_NOTED_NS) {
        snprintf(text, sizeof(text),
                 "the mover (process %d) has said nothing for %" PRIu64 " s; cancelling the move "
                 "ends it",
                 (int)conversation->move->mover.pid,
                 (uint64_t)(silence_ns / NANOSECONDS_PER_SECOND));
        tell_waiting(conversation, text);
    }
}

/* ---- its question ---- */

/* Written down before it can happen: who comes after us, and finds no such word, knows that the VM
 * was not given away, even while the datastore does not say so. */
static int journal_commit(struct conversation *conversation, struct error *err)
{
    struct move_record *move = conversation->move;
    if (move->committing) {
        return 0;
    }
    move->committing = true;
    int result =
        record_save_move(conversation->agent->config, conversation->vm->config.uuid, move, err);
    if (result < 0) {
        move->committing = false;
    }
    return result;
}

/* The other side's last word makes up for a lease that cannot be written: a source that has ended
 * the move never commits it any more. */
static bool source_has_kept(const struct conversation *conversation)
{
    const struct move_watcher *watcher = conversation->watcher;
    return watcher->source_has_kept && watcher->source_has_kept(watcher->context);
}

static int commit(struct conversation *conversation, enum move_owner *ret_owner, struct error *err)
{
    struct agent *agent = conversation->agent;
    const struct vm *vm = conversation->vm;
    const struct move_record *move = conversation->move;
    uint64_t late_ns = move_owner_lateness_ns(vm, conversation->asked_at_ns);
    bool tried = move->committing;
    if (late_ns > 0) {
        return move_owner_take_back(agent, vm, move, tried, late_ns, ret_owner, err);
    }
    if (journal_commit(conversation, err) < 0) {
        *ret_owner = MOVE_OWNER_SOURCE; /* nothing was given away */
        return 0;
    }
    return move_owner_commit(agent, vm, move, tried, ret_owner, err);
}

static int withdraw(struct conversation *conversation, enum move_owner *ret_owner,
                    struct error *err)
{
    int result = move_owner_withdraw(conversation->agent, conversation->vm, conversation->move,
                                     ret_owner, err);
    if (result < 0 && source_has_kept(conversation)) {
        *ret_owner = MOVE_OWNER_SOURCE;
        return 0;
    }
    return result;
}

static void postpone(struct conversation *conversation, const struct error *err)
{
    char text[sizeof(err->message) + sizeof(err->remedy) + 64];
    snprintf(text, sizeof(text), "the switchover waits for the datastore: %s%s%s", err->message,
             err->remedy[0] ? "; " : "", err->remedy);
    if (!conversation->waiting) {
        log_error("VM %s: %s", conversation->vm->config.name, text);
    }
    tell_waiting(conversation, text);
    conversation->ask_again_at = clock_monotonic_ns() + RETRY_NS;
}

/* True when there is nothing to answer: the VM is neither side's any more. */
static bool answer(struct conversation *conversation, struct error *err)
{
    struct error reason = ERROR_NONE;
    enum move_owner owner;
    bool is_source = conversation->move->role == RECORD_SOURCE;
    if (!conversation->asked || clock_monotonic_ns() < conversation->ask_again_at) {
        return false;
    }
    if ((is_source ? commit : withdraw)(conversation, &owner, &reason) < 0) {
        postpone(conversation, &reason);
        return false;
    }
    tell_waiting(conversation, NULL);
    if (owner == MOVE_OWNER_ANOTHER && is_source) {
        error_set(err, EBUSY, "VM %s does not belong to host %s any more",
                  conversation->vm->config.name, conversation->agent->config->host);
        return true;
    }
    conversation->refusal = owner == MOVE_OWNER_SOURCE && is_source ? reason : ERROR_NONE;
    conversation->asked = false;
    conversation->heard_at = clock_monotonic_ns();
    mover_control_answer(&conversation->control,
                         owner == MOVE_OWNER_DESTINATION ? "destination" : "source", NULL);
    return false;
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

static enum move_end read_result(const struct conversation *conversation, const json_t *event,
                                 json_t **ret_statistics, struct error *err)
{
    const char *outcome = json_string_value(json_object_get(event, "outcome"));
    *ret_statistics = json_incref(json_object_get(event, "statistics"));
    if (outcome && strcmp(outcome, "moved") == 0) {
        return MOVE_END_MOVED;
    }
    json_to_error(event, err);
    if (conversation->refusal.code != 0) {
        *err = conversation->refusal;
        error_wrap(err, "the switchover could not be committed");
    }
    return outcome && strcmp(outcome, "stayed") == 0 ? MOVE_END_STAYED : MOVE_END_STRANDED;
}

static void take_progress(struct conversation *conversation, const json_t *event)
{
    const struct move_watcher *watcher = conversation->watcher;
    const char *phase = json_string_value(json_object_get(event, "phase"));
    conversation->switching = phase && strcmp(phase, "switchover") == 0;
    if (watcher->progress) {
        watcher->progress(watcher->context, event);
    }
}

/* One event, or none; true when it was the result. */
static bool take_event(struct conversation *conversation, enum move_end *ret_end,
                       json_t **ret_statistics, struct error *err)
{
    CLEANUP_JSON json_t *event = NULL;
    int result = mover_control_next(&conversation->control, POLL_NS, &event, NULL);
    if (result < 0) {
        close_control(&conversation->control);
    }
    const char *kind = result > 0 ? json_string_value(json_object_get(event, "event")) : NULL;
    if (!kind) {
        return false;
    }
    conversation->heard_at = clock_monotonic_ns();
    tell_waiting(conversation, NULL);
    if (strcmp(kind, "question") == 0) {
        conversation->asked = true;
        conversation->asked_at_ns = mover_control_asked_at(event);
        conversation->ask_again_at = 0;
    } else if (strcmp(kind, "progress") == 0) {
        take_progress(conversation, event);
    } else if (strcmp(kind, "result") == 0) {
        *ret_end = read_result(conversation, event, ret_statistics, err);
        return true;
    }
    return false;
}

/* True when the mover is taken for hung: it was asked to give up and does not, or the guest stands
 * still and it says nothing. Nobody can be given the VM by it any more: that is the agent's to do.
 */
static bool is_hung(struct conversation *conversation, struct error *err)
{
    const char *name = conversation->vm->config.name;
    uint64_t silence_ns = clock_monotonic_ns() - conversation->heard_at;
    note_silence(conversation, silence_ns);
    if (conversation->control.fd >= 0 && pass_on_cancel(conversation)) {
        error_set(err, ETIMEDOUT, "the mover of VM %s did not give up when asked to", name);
        return true;
    }
    if (conversation->switching && !conversation->asked && silence_ns > SILENCE_HUNG_NS) {
        error_set(err, ETIMEDOUT,
                  "the mover of VM %s said nothing for %" PRIu64
                  " s in the middle of the switchover",
                  name, (uint64_t)(silence_ns / NANOSECONDS_PER_SECOND));
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
        if (is_hung(conversation, err)) {
            return MOVE_END_GONE;
        }
        if (connect_control(conversation) < 0) {
            clock_sleep_ns(POLL_NS);
            continue;
        }
        if (take_event(conversation, &end, ret_statistics, err)) {
            return end;
        }
        if (conversation->control.fd >= 0 && answer(conversation, err)) {
            return MOVE_END_LOST;
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

enum move_end move_follow(struct agent *agent, const struct vm *vm, struct move_record *move,
                          const struct move_watcher *watcher, json_t **ret_statistics,
                          struct error *err)
{
    struct conversation conversation = {.agent = agent,
                                        .vm = vm,
                                        .move = move,
                                        .watcher = watcher,
                                        .control = {.fd = -1},
                                        .heard_at = clock_monotonic_ns()};
    *ret_statistics = NULL;
    enum move_end end = converse(&conversation, ret_statistics, err);
    tell_waiting(&conversation, NULL);
    close_control(&conversation.control);
    return end;
}

enum move_owner move_await_owner(struct agent *agent, const struct vm *vm,
                                 const struct move_record *move, const struct move_watcher *watcher,
                                 move_owner_function *find_out)
{
    enum move_owner owner;
    struct error err = ERROR_NONE;
    bool told = false;
    while (find_out(agent, vm, move, &owner, &err) < 0) {
        if (watcher->source_has_kept && watcher->source_has_kept(watcher->context)) {
            return MOVE_OWNER_SOURCE;
        }
        char text[sizeof(err.message) + 64];
        snprintf(text, sizeof(text), "waiting to learn who owns it: %s", err.message);
        if (!told) {
            log_error("VM %s: %s", vm->config.name, text);
        }
        told = true;
        watcher->waiting(watcher->context, text);
        clock_sleep_ns(RETRY_NS);
    }
    if (told) {
        watcher->waiting(watcher->context, NULL);
    }
    return owner;
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

static int try_to_forget(struct agent *agent, const struct vm *vm, struct error *err)
{
    int result = strays_kill(launch_mover_uid(agent, vm), err);
    return result < 0 ? result : record_remove_move(agent->config, vm->config.uuid, err);
}

/* What runs as the mover's user, and the record that there is a move. Both must go, or the next
 * agent finds the move again: where that cannot be done for the moment (no descriptors are left),
 * it is tried again for a while. */
static void forget_mover(struct agent *agent, const struct vm *vm)
{
    struct error err = ERROR_NONE;
    uint64_t deadline = clock_monotonic_ns() + FORGET_PATIENCE_NS;
    while (try_to_forget(agent, vm, &err) < 0) {
        if (clock_monotonic_ns() > deadline) {
            log_error("after the move of VM %s: %s", vm->config.name, err.message);
            return;
        }
        clock_sleep_ns(RETRY_NS);
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
