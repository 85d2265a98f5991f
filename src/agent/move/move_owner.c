/* Who owns a VM after a move: see move_owner.h. */
#include "agent/move/move_owner.h"

#include <string.h>

#include "agent/vm/ownership.h"
#include "base/clock.h"
#include "base/log.h"

/* A destination that said that it is ready may lose its datastore at once, and then its machine:
 * after 4 s where the datastore's settings do not say otherwise. */
#define QUESTION_LIFE_NS (3 * NANOSECONDS_PER_SECOND)

/* Nobody but the source ever names the destination, and nobody but the destination hands back to
 * the source: what the source owns in whatever epoch is its own to run; the destination's is
 * exactly the epoch of the commit. */
static enum move_owner classify(const struct agent *agent, const struct move_record *move,
                                const struct lease *lease)
{
    bool is_source = move->role == RECORD_SOURCE;
    const char *source = is_source ? agent->config->host : move->peer;
    const char *destination = is_source ? move->peer : agent->config->host;
    if (strcmp(lease->host, source) == 0) {
        return MOVE_OWNER_SOURCE;
    }
    return lease->epoch == move->epoch + 1 && strcmp(lease->host, destination) == 0
               ? MOVE_OWNER_DESTINATION
               : MOVE_OWNER_ANOTHER;
}

/* Errors that come before anything is done, and will not be done later by themselves. */
static bool is_certain(int result)
{
    switch (-result) {
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case EACCES:
    case EPERM:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return true;
    default:
        return false;
    }
}

/* What became of an epoch that could not be created. `undone`: and will not be, by anybody. */
static int look_after_failure(struct agent *agent, const struct vm *vm,
                              const struct move_record *move, int failure, bool undone,
                              enum move_owner *ret_owner, struct error *err)
{
    struct lease lease;
    struct error unread = ERROR_NONE;
    if (ownership_read(agent, vm, &lease, &unread) < 0) {
        if (failure == -EEXIST) {
            *err = unread;
        }
        return -EAGAIN;
    }
    if (lease.epoch == move->epoch && !undone) { /* neither committed nor withdrawn, yet */
        return -EAGAIN;
    }
    *ret_owner = classify(agent, move, &lease);
    return 0;
}

/* Nobody but this question's first attempt can commit while it has not been made. */
int move_owner_commit(struct agent *agent, const struct vm *vm, const struct move_record *move,
                      bool tried, enum move_owner *ret_owner, struct error *err)
{
    *ret_owner = MOVE_OWNER_DESTINATION;
    int result = ownership_advance(agent, vm, move->epoch, move->peer, err);
    return result == 0 ? 0
                       : look_after_failure(agent, vm, move, result, !tried && is_certain(result),
                                            ret_owner, err);
}

int move_owner_withdraw(struct agent *agent, const struct vm *vm, const struct move_record *move,
                        enum move_owner *ret_owner, struct error *err)
{
    *ret_owner = MOVE_OWNER_SOURCE;
    int result = ownership_advance(agent, vm, move->epoch, move->peer, err);
    return result == 0 ? 0 : look_after_failure(agent, vm, move, result, false, ret_owner, err);
}

int move_owner_reclaim(struct agent *agent, const struct vm *vm, const struct move_record *move,
                       enum move_owner *ret_owner, struct error *err)
{
    struct lease lease;
    ownership_advance(agent, vm, move->epoch, agent->config->host, err);
    if (ownership_read(agent, vm, &lease, err) < 0 || lease.epoch == move->epoch) {
        return -EAGAIN;
    }
    *err = ERROR_NONE;
    *ret_owner = classify(agent, move, &lease);
    return 0;
}

static uint64_t question_life_ns(const struct vm *vm)
{
    uint64_t most_ns = vm->datastore.lease.stop_after_ns / 4 * 3;
    return most_ns > 0 && most_ns < QUESTION_LIFE_NS ? most_ns : QUESTION_LIFE_NS;
}

/* A guest that cannot go on here is better off with the destination, which may be alive. */
uint64_t move_owner_lateness_ns(const struct vm *vm, uint64_t asked_at_ns)
{
    uint64_t now = clock_boottime_ns();
    uint64_t age_ns = now > asked_at_ns ? now - asked_at_ns : 0;
    return age_ns > question_life_ns(vm) && process_is_alive(&vm->runtime.process) ? age_ns : 0;
}

static void explain_late(const struct agent *agent, const struct move_record *move, uint64_t age_ns,
                         struct error *err)
{
    error_set(err, ETIMEDOUT,
              "host %s came to it %.1f s after host %s was ready, which may not hold any more",
              agent->config->host, (double)age_ns / (double)NANOSECONDS_PER_SECOND, move->peer);
    error_remedy(err,
                 "it runs as before; see what held up droverd on host %s for so long (stopped, "
                 "restarted, overloaded, a datastore that did not answer), and move it again",
                 agent->config->host);
}

/* As of a mover that died: only where a commit may be on its way does it take an epoch. */
int move_owner_take_back(struct agent *agent, const struct vm *vm, const struct move_record *move,
                         bool tried, uint64_t late_ns, enum move_owner *ret_owner,
                         struct error *err)
{
    *ret_owner = MOVE_OWNER_SOURCE;
    int result = tried ? move_owner_reclaim(agent, vm, move, ret_owner, err) : 0;
    if (result == 0 && *ret_owner == MOVE_OWNER_SOURCE) {
        explain_late(agent, move, late_ns, err);
    }
    return result;
}

void move_owner_refresh(struct agent *agent, struct vm *vm)
{
    struct lease lease;
    struct error err = ERROR_NONE;
    if (ownership_read(agent, vm, &lease, &err) == 0) {
        vm->owner = lease;
    } else {
        log_warning("VM %s: %s", vm->config.name, err.message);
    }
}
