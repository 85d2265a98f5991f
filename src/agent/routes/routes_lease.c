/* GET /v1/leases: who may run which VM, and for how long that is proven. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/guarding.h"
#include "agent/routes/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

static json_t *milliseconds(int64_t duration_ns)
{
    return json_integer(duration_ns / (int64_t)NANOSECONDS_PER_MILLISECOND);
}

/* What is known of the owner's life; nulls where nobody owns the VM, or nothing can be known. */
static void add_life(struct agent *agent, const struct vm *vm, json_t *lease)
{
    struct host_sighting sighting;
    bool known = vm->owner.host[0] &&
                 datastores_sight(agent, vm->datastore.uuid, vm->owner.host, &sighting, NULL) == 0;
    json_object_set_new(lease, "life",
                        known ? json_string(host_health_name(sighting.health)) : json_null());
    json_object_set_new(lease, "heartbeat_age_ms",
                        known ? milliseconds((int64_t)sighting.still_ns) : json_null());
}

/* Of the VMs that this host owns: until when they may run. */
static void add_deadline(struct agent *agent, const struct vm *vm, json_t *lease)
{
    int64_t left_ns;
    bool known = strcmp(vm->owner.host, agent->config->host) == 0 &&
                 guarding_left(agent, &vm->datastore, &left_ns, NULL) == 0;
    json_object_set_new(lease, "deadline_ms", known ? milliseconds(left_ns) : json_null());
}

static json_t *lease_to_json(struct agent *agent, const struct vm *vm)
{
    if (vm->unreadable) {
        return NULL;
    }
    json_t *lease =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "vm", vm->config.name, "uuid", vm->config.uuid,
                  "datastore", vm->datastore.name, "kind",
                  lease_kind_name(vm->datastore.lease.kind), "epoch", (json_int_t)vm->owner.epoch,
                  "owner", vm->owner.host[0] ? json_string(vm->owner.host) : json_null());
    add_life(agent, vm, lease);
    add_deadline(agent, vm, lease);
    return lease;
}

int get_leases(void *context, const struct request *request, struct response *ret_response,
               struct error *err)
{
    (void)request;
    return answer_vms(context, "leases", lease_to_json, ret_response, err);
}
