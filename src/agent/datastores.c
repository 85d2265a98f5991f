/* The datastores of this host: see datastores.h. */
#include "agent/datastores.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "base/clock.h"

#define HANGS_NS (3 * NANOSECONDS_PER_SECOND) /* a look that takes longer */

void datastores_init(struct agent *agent)
{
    const struct agent_config *config = agent->config;
    for (size_t i = 0; i < config->datastore_count; i++) {
        const struct config_datastore *wanted = &config->datastores[i];
        struct agent_datastore *entry = &agent->datastores[agent->datastore_count++];
        pthread_mutex_init(&entry->mutex, NULL);
        snprintf(entry->datastore.name, sizeof(entry->datastore.name), "%s", wanted->name);
        snprintf(entry->datastore.path, sizeof(entry->datastore.path), "%s", wanted->path);
        snprintf(entry->problem, sizeof(entry->problem), "it has not been looked at yet");
    }
}

static int refuse_hanging(const struct agent_datastore *entry, uint64_t for_ns, struct error *err)
{
    error_set(err, EHOSTUNREACH, "datastore %s has not answered for %" PRIu64 " s",
              entry->datastore.name, (uint64_t)(for_ns / NANOSECONDS_PER_SECOND));
    return error_remedy(err, "look after the storage behind %s", entry->datastore.path);
}

int datastores_check(const struct agent *agent, const struct agent_datastore *entry,
                     struct error *err)
{
    struct agent_datastore *locked = (struct agent_datastore *)entry;
    char problem[sizeof(entry->problem)];
    uint64_t since = atomic_load(&locked->looking_since_ns);
    uint64_t now = clock_monotonic_ns();
    if (since != 0 && now > since + HANGS_NS) {
        return refuse_hanging(entry, now - since, err);
    }
    pthread_mutex_lock(&locked->mutex);
    memcpy(problem, entry->problem, sizeof(problem));
    pthread_mutex_unlock(&locked->mutex);
    if (!problem[0]) {
        return 0;
    }
    error_set(err, EHOSTUNREACH, "datastore %s is not available on host %s: %.500s",
              entry->datastore.name, agent->config->host, problem);
    return error_remedy(err, "bring it back at %s; droverd looks again by itself",
                        entry->datastore.path);
}

static const struct datastore *use(const struct agent *agent, const struct agent_datastore *entry,
                                   struct error *err)
{
    return datastores_check(agent, entry, err) == 0 ? &entry->datastore : NULL;
}

const struct datastore *datastores_find(struct agent *agent, const char *name, struct error *err)
{
    for (size_t i = 0; i < agent->datastore_count; i++) {
        const struct agent_datastore *entry = &agent->datastores[i];
        if (!name || strcmp(entry->datastore.name, name) == 0) {
            return use(agent, entry, err);
        }
    }
    error_set(err, ENOENT, "host %s has no datastore %s", agent->config->host, name ? name : "");
    error_remedy(err, "\"drover host show\" lists its datastores");
    return NULL;
}

struct agent_datastore *datastores_by_uuid(struct agent *agent, const char *uuid)
{
    for (size_t i = 0; i < agent->datastore_count; i++) {
        struct agent_datastore *entry = &agent->datastores[i];
        if (atomic_load(&entry->open) && strcmp(entry->datastore.uuid, uuid) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* With the entry's mutex held. */
static struct host_sighting find_sighting(const struct agent_datastore *entry, const char *host)
{
    struct host_sighting found = {.health = HOST_ABSENT};
    for (size_t i = 0; i < entry->sighting_count; i++) {
        if (strcmp(entry->sightings[i].host, host) == 0) {
            found = entry->sightings[i];
        }
    }
    snprintf(found.host, sizeof(found.host), "%s", host);
    return found;
}

int datastores_sight(struct agent *agent, const char *uuid, const char *host,
                     struct host_sighting *ret_sighting, struct error *err)
{
    struct agent_datastore *entry = datastores_by_uuid(agent, uuid);
    if (!entry) {
        return error_set(err, EHOSTUNREACH, "the datastore %s is not available on host %s", uuid,
                         agent->config->host);
    }
    if (entry->datastore.lease.kind == LEASE_LOCAL) {
        return error_set(err, ENOTSUP, "on datastore %s no host proves that it lives",
                         entry->datastore.name);
    }
    int result = datastores_check(agent, entry, err);
    if (result == 0) {
        pthread_mutex_lock(&entry->mutex);
        *ret_sighting = find_sighting(entry, host);
        pthread_mutex_unlock(&entry->mutex);
    }
    return result;
}

const struct datastore *datastores_use(struct agent *agent, const char *uuid, const char *name,
                                       struct error *err)
{
    const struct agent_datastore *entry = datastores_by_uuid(agent, uuid);
    if (entry) {
        return use(agent, entry, err);
    }
    error_set(err, EHOSTUNREACH, "datastore %s (%s) is not available on host %s", name, uuid,
              agent->config->host);
    error_remedy(err, "\"drover host show\" says what is wrong with it");
    return NULL;
}
