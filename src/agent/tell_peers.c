/* One call to all peers at once: see tell_peers.h. */
#include "agent/tell_peers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/peer.h"
#include "base/clock.h"
#include "base/json.h"

#define THREADS 16
#define TELL_TIMEOUT_NS (5 * NANOSECONDS_PER_SECOND)

struct telling {
    struct agent *agent;
    const char *path;
    const char *except;
    atomic_size_t next;
    pthread_mutex_t mutex; /* of the lists */
    json_t *told;
    json_t *not_told;
};

static void tell_one(struct telling *telling, const struct config_peer *peer)
{
    struct error err = ERROR_NONE;
    int result =
        peer_call(telling->agent, peer, "POST", telling->path, NULL, TELL_TIMEOUT_NS, NULL, &err);
    pthread_mutex_lock(&telling->mutex);
    if (result == 0) {
        json_array_append_new(telling->told, json_string(peer->name));
    } else {
        json_array_append_new(
            telling->not_told,
            json_pack("{s:s, s:o}", "host", peer->name, "reason", json_string_of_any(err.message)));
    }
    pthread_mutex_unlock(&telling->mutex);
}

static void *tell(void *context)
{
    struct telling *telling = context;
    const struct agent_config *config = telling->agent->config;
    for (size_t i; (i = atomic_fetch_add(&telling->next, 1)) < config->peer_count;) {
        if (!telling->except || strcmp(config->peers[i].name, telling->except) != 0) {
            tell_one(telling, &config->peers[i]);
        }
    }
    return NULL;
}

json_t *tell_peers(struct agent *agent, const char *path, const char *except)
{
    struct telling telling = {.agent = agent,
                              .path = path,
                              .except = except,
                              .mutex = PTHREAD_MUTEX_INITIALIZER,
                              .told = json_array(),
                              .not_told = json_array()};
    pthread_t threads[THREADS];
    size_t started = 0;
    while (started < THREADS && started + 1 < agent->config->peer_count &&
           pthread_create(&threads[started], NULL, tell, &telling) == 0) {
        started++;
    }
    tell(&telling);
    while (started > 0) {
        pthread_join(threads[--started], NULL);
    }
    pthread_mutex_destroy(&telling.mutex);
    return json_pack("{s:o, s:o}", "told", telling.told, "not_told", telling.not_told);
}
