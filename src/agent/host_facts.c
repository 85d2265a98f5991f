/* What a host tells of itself: see host_facts.h. */
#include "agent/host_facts.h"

#include <string.h>
#include <unistd.h>

#include "agent/guarding.h"
#include "base/json.h"

/* What keeps VMs of the datastore from running on this host, or null. */
static json_t *obstacle_to_json(struct agent *agent, const struct agent_datastore *entry)
{
    struct error err = ERROR_NONE;
    return guarding_check(agent, &entry->datastore, &err) < 0 ? json_string_of_any(err.message)
                                                              : json_null();
}

static json_t *datastore_to_json(struct agent *agent, const struct agent_datastore *entry)
{
    uint64_t total = 0;
    uint64_t unused = 0;
    struct error err = ERROR_NONE;
    const struct datastore *datastore = &entry->datastore;
    bool answers = datastores_check(agent, entry, &err) == 0;
    if (answers) {
        datastore_space(datastore, &total, &unused, &err);
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o}", "name", datastore->name, "uuid",
                     datastore->uuid, "path", datastore->path, "total_bytes", (json_int_t)total,
                     "free_bytes", (json_int_t)unused, "lease",
                     lease_settings_to_json(&datastore->lease), "obstacle",
                     answers ? obstacle_to_json(agent, entry) : json_null(), "problem",
                     err.message[0] ? json_string_of_any(err.message) : json_null());
}

static json_t *datastores_to_json(struct agent *agent)
{
    json_t *list = json_array();
    for (size_t i = 0; i < agent->datastore_count; i++) {
        json_array_append_new(list, datastore_to_json(agent, &agent->datastores[i]));
    }
    return list;
}

static json_t *port_groups_to_json(const struct agent_config *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->port_group_count; i++) {
        const struct port_group *group = &config->port_groups[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "name", group->name, "bridge",
                                              group->bridge, "vlan", (int)group->vlan));
    }
    return list;
}

static json_t *peers_to_json(const struct agent_config *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->peer_count; i++) {
        const struct config_peer *peer = &config->peers[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "name", peer->name, "address",
                                              peer->address, "port", (int)peer->port));
    }
    return list;
}

static json_t *migration_addresses_to_json(const struct agent_config *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->migration_address_count; i++) {
        json_array_append_new(list, json_string(config->migration_addresses[i]));
    }
    return list;
}

/* Borrowed. */
static json_t *first_or_null(const json_t *list)
{
    json_t *first = json_array_get(list, 0);
    return first ? first : json_null();
}

json_t *host_facts_of_source(const struct agent *agent)
{
    const struct agent_config *config = agent->config;
    return json_pack("{s:s, s:O, s:o, s:s}", "name", config->host, "capabilities",
                     agent->capabilities, "port_groups", port_groups_to_json(config),
                     "migration_encryption", encryption_policies[config->migration_encryption]);
}

json_t *host_facts(struct agent *agent, struct error *err)
{
    const struct agent_config *config = agent->config;
    uint64_t total;
    uint64_t available;
    if (agent_memory(agent, &total, &available, err) < 0) {
        return NULL;
    }
    CLEANUP_JSON json_t *addresses = migration_addresses_to_json(config);
    json_t *facts = json_pack(
        "{s:s, s:s, s:O, s:{s:I, s:I}, s:i, s:o, s:o, s:o, s:o, s:O, s:s, s:o}", "name",
        config->host, "version", DROVER_VERSION, "capabilities", agent->capabilities, "memory",
        "total_bytes", (json_int_t)total, "available_bytes", (json_int_t)available, "cpus",
        (int)sysconf(_SC_NPROCESSORS_ONLN), "datastores", datastores_to_json(agent), "port_groups",
        port_groups_to_json(config), "peers", peers_to_json(config), "migration_address",
        json_incref(first_or_null(addresses)), "migration_addresses", addresses,
        "migration_encryption", encryption_policies[config->migration_encryption], "recoveries",
        recoveries_to_json(agent->recoveries));
    if (!facts || json_object_set_new(facts, "certificate", trust_facts(agent->trust))) {
        error_set_errno(err, ENOMEM, "cannot describe host %s", config->host);
    }
    return facts;
}
