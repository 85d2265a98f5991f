/* Which address connects to which. */
#include "test.h"

#include "agent/move/migration_paths.h"
#include "base/json.h"

/* Paths as text, "LOCAL>ADDRESS" each; NULL when the answer is refused. */
static const char *paths_of(const struct migration_local *locals, size_t count,
                            const char *const *endpoints)
{
    static char text[1024];
    struct mover_setup setup = {0};
    struct error err = ERROR_NONE;
    size_t used = 0;
    json_t *list = json_array();
    for (size_t i = 0; endpoints[i]; i++) {
        json_array_append_new(
            list, json_pack("{s:s, s:i}", "address", endpoints[i], "port", 4000 + (int)i));
    }
    CLEANUP_JSON json_t *answer = json_pack("{s:o}", "endpoints", list);
    if (migration_paths(locals, count, answer, &setup, &err) < 0) {
        return NULL;
    }
    for (size_t i = 0; i < setup.path_count; i++) {
        const struct mover_path *path = &setup.paths[i];
        assert_true(path->port >= 4000);
        assert_string_equal(path->address, endpoints[path->port - 4000]);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s>%s", i ? " " : "",
                                 path->local_address, path->address);
    }
    return text;
}

static void pairs_follow_subnets_and_use_every_address(void **state)
{
    static const struct {
        struct migration_local locals[4];
        const char *endpoints[5];
        const char *paths;
    } rows[] = {
        /* one network */
        {{{"10.78.0.1", 24}}, {"10.78.0.2"}, "10.78.0.1>10.78.0.2"},
        /* two, listed in another order over there */
        {{{"10.78.0.1", 24}, {"10.80.0.1", 24}},
         {"10.80.0.2", "10.78.0.2"},
         "10.78.0.1>10.78.0.2 10.80.0.1>10.80.0.2"},
        /* two cards in one network here, one there, and the other way round */
        {{{"10.78.0.1", 24}, {"10.78.0.3", 24}},
         {"10.78.0.2"},
         "10.78.0.1>10.78.0.2 10.78.0.3>10.78.0.2"},
        {{{"10.78.0.1", 24}},
         {"10.78.0.2", "10.78.0.4"},
         "10.78.0.1>10.78.0.2 10.78.0.1>10.78.0.4"},
        {{{"10.78.0.1", 24}, {"10.78.0.3", 24}},
         {"10.78.0.2", "10.78.0.4"},
         "10.78.0.1>10.78.0.2 10.78.0.3>10.78.0.4"},
        /* a network that the other side lacks is left alone */
        {{{"10.78.0.1", 24}, {"10.80.0.1", 24}}, {"10.78.0.2"}, "10.78.0.1>10.78.0.2"},
        /* one that is behind a router: from the card that nothing else uses, or as the kernel says
         */
        {{{"10.78.0.1", 24}, {"10.80.0.1", 24}},
         {"10.78.0.2", "10.90.0.2"},
         "10.78.0.1>10.78.0.2 10.80.0.1>10.90.0.2"},
        {{{"10.78.0.1", 24}}, {"10.78.0.2", "10.90.0.2"}, "10.78.0.1>10.78.0.2 >10.90.0.2"},
        {{{"10.78.0.1", 24}, {"10.80.0.1", 24}},
         {"10.90.0.2", "10.91.0.2"},
         "10.78.0.1>10.90.0.2 10.80.0.1>10.91.0.2"},
        /* an address whose subnet is not known; no address at all */
        {{{"10.78.0.1", 0}}, {"10.78.0.2"}, "10.78.0.1>10.78.0.2"},
        {{{""}}, {"10.78.0.2", "fd00::2"}, ">10.78.0.2 >fd00::2"},
        /* prefixes that end within a byte */
        {{{"10.78.0.1", 25}, {"10.78.0.129", 25}},
         {"10.78.0.130", "10.78.0.2"},
         "10.78.0.1>10.78.0.2 10.78.0.129>10.78.0.130"},
        /* families do not mix */
        {{{"10.78.0.1", 24}, {"fd00::1", 64}},
         {"fd00::2", "10.78.0.2"},
         "10.78.0.1>10.78.0.2 fd00::1>fd00::2"},
        {{{"fd00::1", 64}}, {"10.78.0.2"}, ">10.78.0.2"},
        {{{"fd00:1::1", 64}, {"fd00:2::1", 64}},
         {"fd00:3::2", "10.78.0.2"},
         ">10.78.0.2 fd00:1::1>fd00:3::2 fd00:2::1>fd00:3::2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t count = 0;
        while (count < 4 && rows[i].locals[count].address[0]) {
            count++;
        }
        assert_string_equal(paths_of(rows[i].locals, count, rows[i].endpoints), rows[i].paths);
    }
}

static void no_more_paths_than_there_is_room_for(void **state)
{
    struct migration_local locals[MOVER_PATHS_MOST];
    const char *endpoints[MOVER_PATHS_MOST + 1] = {NULL};
    char names[MOVER_PATHS_MOST][16];
    (void)state;
    for (int i = 0; i < MOVER_PATHS_MOST; i++) {
        locals[i].prefix = 24;
        snprintf(locals[i].address, sizeof(locals[i].address), "10.%d.0.1", i % 4);
        snprintf(names[i], sizeof(names[i]), "10.%d.0.2", i / 4);
        endpoints[i] = names[i];
    }
    const char *paths = paths_of(locals, MOVER_PATHS_MOST, endpoints);
    size_t count = 0;
    for (const char *at = paths; (at = strchr(at, '>')); at++) {
        count++;
    }
    assert_int_equal(count, MOVER_PATHS_MOST);
}

static void answers_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"endpoints\": []}",
        "{\"endpoints\": \"10.0.0.1\"}",
        "{\"endpoints\": [7]}",
        "{\"endpoints\": [{\"address\": \"10.0.0.1\"}]}",
        "{\"endpoints\": [{\"address\": \"h2.example\", \"port\": 1}]}",
        "{\"endpoints\": [{\"address\": \"10.0.0.1\", \"port\": 65536}]}",
    };
    struct migration_local local = {"10.0.0.2", 24};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_NONE;
        struct mover_setup setup = {.path_count = 7};
        CLEANUP_JSON json_t *answer = json_parse(bad[i], strlen(bad[i]), "test", &err);
        assert_int_equal(migration_paths(&local, 1, answer, &setup, &err), -EINVAL);
        assert_int_equal(setup.path_count, 7);
    }
}

static void this_hosts_subnets_are_found(void **state)
{
    struct agent_config config = {.migration_addresses = {"127.0.0.1", "192.0.2.1"},
                                  .migration_address_count = 2};
    struct migration_local locals[MOVER_PATHS_MOST];
    size_t count = 0;
    (void)state;
    migration_locals(&config, locals, &count);
    assert_int_equal(count, 2);
    assert_string_equal(locals[0].address, "127.0.0.1");
    assert_int_equal(locals[0].prefix, 8);
    assert_int_equal(locals[1].prefix, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_follow_subnets_and_use_every_address),
        cmocka_unit_test(no_more_paths_than_there_is_room_for),
        cmocka_unit_test(answers_that_are_none_are_refused),
        cmocka_unit_test(this_hosts_subnets_are_found),
    };
    return cmocka_run_group_tests_name("agent-migration-paths", tests, NULL, NULL);
}
