/* What the agent put right: kept in order, and not without end. */
#include "test.h"

#include "agent/vm/recoveries.h"
#include "base/json.h"

static const char *text_of(const json_t *list, size_t index)
{
    return json_string_value(json_object_get(json_array_get(list, index), "text"));
}

static void the_latest_are_kept_in_their_order(void **state)
{
    struct recoveries *recoveries = recoveries_new();
    (void)state;
    for (int i = 0; i < RECOVERIES_KEPT + 7; i++) {
        recoveries_note(recoveries, RECOVERY_ADOPTED, "web1", "number %d", i);
    }
    CLEANUP_JSON json_t *list = recoveries_to_json(recoveries);
    assert_int_equal(json_array_size(list), RECOVERIES_KEPT);
    assert_string_equal(text_of(list, 0), "number 7");
    assert_string_equal(text_of(list, RECOVERIES_KEPT - 1), "number 106");
    recoveries_free(recoveries);
}

static void one_that_is_of_no_machine_says_so(void **state)
{
    struct recoveries *recoveries = recoveries_new();
    (void)state;
    recoveries_note(recoveries, RECOVERY_FAILED, "", "text");
    CLEANUP_JSON json_t *list = recoveries_to_json(recoveries);
    const json_t *only = json_array_get(list, 0);
    assert_true(json_is_null(json_object_get(only, "vm")));
    assert_string_equal(json_string_value(json_object_get(only, "kind")), "failed");
    recoveries_free(recoveries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_are_kept_in_their_order),
        cmocka_unit_test(one_that_is_of_no_machine_says_so),
    };
    return cmocka_run_group_tests_name("agent-recoveries", tests, NULL, NULL);
}
