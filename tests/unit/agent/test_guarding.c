/* What drover-guard is told: all datastores that are open, whichever thread opened its own last. */
#include "test.h"

#include <pthread.h>

#include "agent/guarding.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "scratch.h"

#define ROUNDS 200
#define DATASTORES 4

struct opener {
    struct agent *agent;
    struct agent_datastore *entry;
    pthread_t thread;
    int result;
};

static void *open_and_instruct(void *context)
{
    struct opener *opener = context;
    atomic_store(&opener->entry->open, true);
    opener->result = guarding_instruct(opener->agent, NULL);
    return NULL;
}

static size_t count_instructed(const struct agent *agent)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = file_path("%s/guard/datastores.json", agent->config->run_folder);
    CLEANUP_JSON json_t *told = json_read_file(path, 65536, &err);
    assert_non_null(told);
    return json_array_size(json_object_get(told, "datastores"));
}

static void play_round(struct agent *agent)
{
    struct opener openers[DATASTORES];
    for (size_t i = 0; i < DATASTORES; i++) {
        struct agent_datastore *entry = &agent->datastores[i];
        atomic_store(&entry->open, false);
        snprintf(entry->datastore.name, sizeof(entry->datastore.name), "store%zu", i);
        openers[i] = (struct opener){.agent = agent, .entry = entry};
    }
    for (size_t i = 0; i < DATASTORES; i++) {
        assert_int_equal(pthread_create(&openers[i].thread, NULL, open_and_instruct, &openers[i]),
                         0);
    }
    for (size_t i = 0; i < DATASTORES; i++) {
        pthread_join(openers[i].thread, NULL);
        assert_int_equal(openers[i].result, 0);
    }
    assert_int_equal(count_instructed(agent), DATASTORES);
}

static void of_datastores_opened_at_once_none_is_forgotten(void **state)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    struct agent_config *config = calloc(1, sizeof(*config));
    snprintf(config->run_folder, sizeof(config->run_folder), "%s", (char *)*state);
    snprintf(config->host, sizeof(config->host), "h1");
    agent->config = config;
    agent->datastore_count = DATASTORES;
    for (int i = 0; i < ROUNDS; i++) {
        CLEANUP_FREE char *told = file_path("%s/guard", (char *)*state);
        assert_int_equal(file_remove_tree(told, NULL), 0);
        play_round(agent);
    }
    free(config);
    free(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(of_datastores_opened_at_once_none_is_forgotten),
    };
    return cmocka_run_group_tests_name("agent-guarding", tests, NULL, NULL);
}
