/* The machine's identity: made once, and kept. */
#include "test.h"

#include "agent/host_id.h"
#include "scratch.h"

static void it_is_made_once_and_kept(void **state)
{
    struct agent_config *config = calloc(1, sizeof(*config));
    char first[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];
    struct error err = ERROR_NONE;
    snprintf(config->state_folder, sizeof(config->state_folder), "%s", (char *)*state);
    assert_int_equal(host_id_load(config, first, &err), 0);
    assert_true(uuid_is_valid(first));
    assert_int_equal(host_id_load(config, second, &err), 0);
    assert_string_equal(first, second);
    free(config);
}

static void what_is_no_identity_is_refused_by_name(void **state)
{
    struct agent_config *config = calloc(1, sizeof(*config));
    char id[UUID_TEXT_SIZE];
    struct error err = ERROR_NONE;
    snprintf(config->state_folder, sizeof(config->state_folder), "%s", (char *)*state);
    scratch_write(state, "host_id", "h1\n");
    assert_int_equal(host_id_load(config, id, &err), -EINVAL);
    assert_non_null(strstr(err.message, "host_id"));
    assert_true(err.remedy[0]);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(it_is_made_once_and_kept),
        scratch_test(what_is_no_identity_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("agent-host-id", tests, NULL, NULL);
}
