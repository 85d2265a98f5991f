/* Taking over: see take_over.h. */
#include "agent/vm/take_over.h"

#include <inttypes.h>
#include <stdio.h>

#include "agent/datastores.h"
#include "base/clock.h"
#include "base/log.h"

#define POLL_NS (50 * NANOSECONDS_PER_MILLISECOND)

/* A host that was switched off just now may have moved its heartbeat just before, and this one sees
 * that a little later. Afterwards every move of it is life. */
#define GRACE_NS (1500 * NANOSECONDS_PER_MILLISECOND)

/* Beyond twice the take-over time: the datastore may be slow to look at. */
#define PATIENCE_NS (20 * NANOSECONDS_PER_SECOND)

/* The second look that ends from now on began from now on, so after the lease was read: by an
 * earlier one a host may be dead that has come back since, and has taken the VM in that epoch. */
#define FRESH_LOOKS 2u

static uint64_t count_looks(struct agent *agent, const struct vm *vm)
{
    const struct agent_datastore *entry = datastores_by_uuid(agent, vm->datastore.uuid);
    return entry ? atomic_load(&entry->looks) : 0;
}

static int look(struct agent *agent, const struct vm *vm, struct host_sighting *ret_sighting,
                struct error *err)
{
    return datastores_sight(agent, vm->datastore.uuid, vm->owner.host, ret_sighting, err);
}

static double seconds(uint64_t duration_ns)
{
    return (double)duration_ns / (double)NANOSECONDS_PER_SECOND;
}

bool take_over_describe(struct agent *agent, const struct vm *vm, char *text, size_t size)
{
    struct host_sighting sighting;
    struct error err = ERROR_NONE;
    const char *host = vm->owner.host;
    if (look(agent, vm, &sighting, &err) < 0) {
        snprintf(text, size, "whether host %s lives is not known: %.100s", host, err.message);
        return false;
    }
    double still_s = seconds(sighting.still_ns);
    switch (sighting.health) {
    case HOST_ALIVE:
        snprintf(text, size, "host %s lives", host);
        return false;
    case HOST_SILENT:
        snprintf(text, size, "host %s has been silent for %.1f s", host, still_s);
        return false;
    case HOST_DEAD:
        snprintf(text, size, "host %s is dead: silent for %.0f s", host, still_s);
        return true;
    default:
        snprintf(text, size, "whether host %s lives is not known yet", host);
        return false;
    }
}

/* ---- waiting ---- */

static void show(struct task *task, const struct vm *vm, const struct host_sighting *sighting)
{
    uint64_t takeover_ns = vm->datastore.lease.takeover_ns;
    double share = (double)sighting->still_ns / (double)takeover_ns;
    json_t *progress =
        json_pack("{s:s, s:I, s:I}", "waits_for", vm->owner.host, "silent_ms",
                  (json_int_t)(sighting->still_ns / NANOSECONDS_PER_MILLISECOND), "takeover_ms",
                  (json_int_t)(takeover_ns / NANOSECONDS_PER_MILLISECOND));
    task_set_progress(task, share > 1 ? 0.9 : 0.9 * share, progress);
}

static int refuse_living(const struct vm *vm, const struct host_sighting *sighting,
                         struct error *err)
{
    error_set(
        err, EBUSY,
        "VM %s cannot be taken over: its owner, host %s, lives; its heartbeat on datastore %s "
        "moved %.1f s ago",
        vm->config.name, vm->owner.host, vm->datastore.name, seconds(sighting->still_ns));
    return error_remedy(err, "stop it on host %s, or move it here from there", vm->owner.host);
}

static bool has_beat_since(const struct host_sighting *sighting, uint64_t waited_ns)
{
    bool has_beat = sighting->health == HOST_ALIVE || sighting->health == HOST_SILENT;
    return has_beat && sighting->still_ns + GRACE_NS < waited_ns;
}

/* Whether there is an end to the waiting: 1 the VM may be taken, 0 not yet. */
static int judge(const struct vm *vm, const struct host_sighting *sighting, uint64_t waited_ns,
                 bool fenced, struct error *err)
{
    if (has_beat_since(sighting, waited_ns)) {
        return refuse_living(vm, sighting, err);
    }
    if (sighting->health == HOST_DEAD) {
        return 1;
    }
    return fenced && (sighting->still_ns > GRACE_NS || waited_ns > 2 * GRACE_NS);
}

static int refuse_unseen(const struct vm *vm, struct error *err)
{
    error_set(
        err, EBUSY,
        "VM %s cannot be taken over by waiting: no host proves on datastore %s that it lives, "
        "so nothing tells whether host %s does",
        vm->config.name, vm->datastore.name, vm->owner.host);
    return error_remedy(err,
                        "make sure that host %s is switched off, then: drover vm start "
                        "--take-over --fenced %s",
                        vm->owner.host, vm->config.name);
}

static int refuse_unanswered(const struct vm *vm, const struct error *reason, struct error *err)
{
    error_set(err, ETIMEDOUT,
              "VM %s was not taken over: nobody could tell whether host %s lives%s%s",
              vm->config.name, vm->owner.host, reason->message[0] ? ": " : "", reason->message);
    return error_remedy(err, "%s", reason->remedy[0] ? reason->remedy : "try again");
}

/* 1 the VM may be taken, 0 not yet. A failure to look is in `reason`, for the case that it lasts.
 */
static int look_and_judge(struct agent *agent, const struct vm *vm, uint64_t waited_ns, bool fenced,
                          struct task *task, struct error *reason, struct error *err)
{
    struct host_sighting sighting;
    int result = look(agent, vm, &sighting, reason);
    if (result == -ENOTSUP) {
        return fenced ? 1 : refuse_unseen(vm, err);
    }
    if (result < 0) {
        return 0;
    }
    *reason = ERROR_NONE;
    show(task, vm, &sighting);
    return judge(vm, &sighting, waited_ns, fenced, err);
}

int take_over_wait(struct agent *agent, const struct vm *vm, bool fenced, struct task *task,
                   struct error *err)
{
    uint64_t begun = clock_monotonic_ns();
    uint64_t limit_ns = 2 * vm->datastore.lease.takeover_ns + PATIENCE_NS;
    struct error reason = ERROR_NONE;
    uint64_t looks = count_looks(agent, vm);
    task_set_phase(task, "take-over");
    for (;;) {
        uint64_t waited_ns = clock_monotonic_ns() - begun;
        bool fresh = count_looks(agent, vm) - looks >= FRESH_LOOKS;
        int result = fresh ? look_and_judge(agent, vm, waited_ns, fenced, task, &reason, err) : 0;
        if (result != 0) {
            return result < 0 ? result : 0;
        }
        if (task_is_cancelled(task)) {
            return error_set(err, ECANCELED, "the take-over of VM %s was cancelled",
                             vm->config.name);
        }
        if (waited_ns > limit_ns) {
            return refuse_unanswered(vm, &reason, err);
        }
        clock_sleep_ns(POLL_NS);
    }
}
