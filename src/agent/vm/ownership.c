/* Leases, as the agent needs them: see ownership.h. */
#include "agent/vm/ownership.h"

#include <inttypes.h>
#include <string.h>

#include "agent/datastores.h"
#include "agent/vm/take_over.h"
#include "base/log.h"

int ownership_read(struct agent *agent, const struct vm *vm, struct lease *ret_lease,
                   struct error *err)
{
    const struct datastore *datastore =
        datastores_use(agent, vm->datastore.uuid, vm->datastore.name, err);
    return datastore ? lease_read(datastore, vm->config.name, ret_lease, err) : -err->code;
}

int ownership_advance(struct agent *agent, const struct vm *vm, uint64_t after, const char *host,
                      struct error *err)
{
    const struct datastore *datastore =
        datastores_use(agent, vm->datastore.uuid, vm->datastore.name, err);
    return datastore ? lease_advance(datastore, vm->config.name, after, host, err) : -err->code;
}

bool ownership_is_foreign(const struct agent *agent, const struct lease *lease)
{
    return lease->host[0] && strcmp(lease->host, agent->config->host) != 0;
}

/* ---- taking ---- */

int ownership_refuse(struct agent *agent, const struct vm *vm, struct error *err)
{
    char life[TAKE_OVER_LIFE_SIZE];
    bool dead = take_over_describe(agent, vm, life, sizeof(life));
    const char *owner = vm->owner.host;
    error_set(err, EBUSY,
              "VM %s is owned by host %s (epoch %" PRIu64 "), so host %s may not run it; %s",
              vm->config.name, owner, vm->owner.epoch, agent->config->host, life);
    return dead ? error_remedy(err, "take it over: drover vm start --take-over %s", vm->config.name)
                : error_remedy(err,
                               "start or stop it on host %s, or move it here from there; when "
                               "that host is gone: drover vm start --take-over %s",
                               owner, vm->config.name);
}

/* Another's lease, and what the caller wants done about that: 0 when it may be taken now. */
static int settle_foreign(struct agent *agent, struct vm *vm, enum ownership_claim claim,
                          struct task *task, struct error *err)
{
    if (claim == OWNERSHIP_FREE) {
        return ownership_refuse(agent, vm, err);
    }
    return take_over_wait(agent, vm, claim == OWNERSHIP_FENCED, task, err);
}

int ownership_take(struct agent *agent, struct vm *vm, enum ownership_claim claim,
                   struct task *task, struct error *err)
{
    const char *self = agent->config->host;
    int result = ownership_read(agent, vm, &vm->owner, err);
    if (result < 0) {
        return result;
    }
    struct lease before = vm->owner;
    bool foreign = ownership_is_foreign(agent, &before);
    if (foreign && (result = settle_foreign(agent, vm, claim, task, err)) < 0) {
        return result;
    }
    result = ownership_advance(agent, vm, before.epoch, self, err);
    if (result == -EEXIST && ownership_read(agent, vm, &vm->owner, err) == 0) {
        return ownership_refuse(agent, vm, err);
    }
    if (result == 0) {
        vm->owner.epoch = before.epoch + 1;
        snprintf(vm->owner.host, sizeof(vm->owner.host), "%s", self);
    }
    if (result == 0 && foreign) {
        log_info("VM %s is taken over from host %s, in epoch %" PRIu64, vm->config.name,
                 before.host, vm->owner.epoch);
    }
    return result;
}

int ownership_release(struct agent *agent, struct vm *vm, struct error *err)
{
    int result = ownership_read(agent, vm, &vm->owner, err);
    if (result < 0 || strcmp(vm->owner.host, agent->config->host) != 0) {
        return result;
    }
    result = ownership_advance(agent, vm, vm->owner.epoch, "", err);
    if (result == 0) {
        vm->owner.epoch++;
        vm->owner.host[0] = '\0';
    }
    return result;
}
