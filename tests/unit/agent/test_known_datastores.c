/* A datastore that was seen is not made anew where it is not mounted. */
#include "test.h"

#include "agent/known_datastores.h"
#include "base/cleanup.h"
#include "scratch.h"

struct fixture {
    struct agent_config config;
    char path[256], elsewhere[256];
    char *scratch;
};

static void run_in(void **state, const char *command)
{
    char line[512];
    snprintf(line, sizeof(line), "cd %s && %s", (const char *)*state, command);
    assert_int_equal(system(line), 0);
}

static void set_up(struct fixture *fixture, void **state)
{
    *fixture = (struct fixture){.scratch = *state};
    snprintf(fixture->config.state_folder, sizeof(fixture->config.state_folder), "%s/state",
             fixture->scratch);
    snprintf(fixture->path, sizeof(fixture->path), "%s/store", fixture->scratch);
    snprintf(fixture->elsewhere, sizeof(fixture->elsewhere), "%s/elsewhere", fixture->scratch);
    run_in(state, "mkdir state store elsewhere");
}

static void it_is_made_once_and_found_again(void **state)
{
    struct fixture fixture;
    struct datastore first, second;
    struct error err = ERROR_NONE;
    set_up(&fixture, state);
    const struct agent_config *config = &fixture.config;
    assert_int_equal(known_datastores_open(config, "store", fixture.path, &first, &err), 0);
    assert_int_equal(known_datastores_open(config, "store", fixture.path, &second, &err), 0);
    assert_string_equal(first.uuid, second.uuid);
}

static void an_empty_mount_point_is_refused_and_left_empty(void **state)
{
    struct fixture fixture;
    struct datastore datastore;
    struct error err = ERROR_NONE;
    set_up(&fixture, state);
    const struct agent_config *config = &fixture.config;
    assert_int_equal(known_datastores_open(config, "store", fixture.path, &datastore, &err), 0);
    run_in(state, "mv store/drover-datastore.json kept");
    assert_int_equal(known_datastores_open(config, "store", fixture.path, &datastore, &err),
                     -ESTALE);
    assert_non_null(strstr(err.message, "store"));
    assert_non_null(strstr(err.remedy, "state/datastores/store"));
    run_in(state, "test -z \"$(ls -A store)\" && mv kept store/drover-datastore.json");
    assert_int_equal(known_datastores_open(config, "store", fixture.path, &datastore, &err), 0);
}

/* Another datastore there, or another place for it, is the operator's doing. */
static void what_was_replaced_or_moved_is_accepted(void **state)
{
    struct fixture fixture;
    struct datastore before, after;
    struct error err = ERROR_NONE;
    set_up(&fixture, state);
    const struct agent_config *config = &fixture.config;
    assert_int_equal(known_datastores_open(config, "store", fixture.path, &before, &err), 0);
    assert_int_equal(known_datastores_open(config, "store", fixture.elsewhere, &after, &err), 0);
    assert_string_not_equal(before.uuid, after.uuid);
    run_in(state, "cp store/drover-datastore.json elsewhere");
    assert_int_equal(known_datastores_open(config, "store", fixture.elsewhere, &after, &err), 0);
    assert_string_equal(before.uuid, after.uuid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(it_is_made_once_and_found_again),
        scratch_test(an_empty_mount_point_is_refused_and_left_empty),
        scratch_test(what_was_replaced_or_moved_is_accepted),
    };
    return cmocka_run_group_tests_name("agent-known-datastores", tests, NULL, NULL);
}
