/* Moves that come in, as the source's agent asks about them. */
#include "test.h"

#include <pthread.h>

#include "agent/move/move_list.h"
#include "base/clock.h"

static const char *state_of(struct move_list *list, const char *id)
{
    static char text[32];
    json_t *move = move_list_get(list, id);
    assert_non_null(move);
    snprintf(text, sizeof(text), "%s", json_string_value(json_object_get(move, "state")));
    json_decref(move);
    return text;
}

static void a_move_is_known_from_its_beginning_to_after_its_end(void **state)
{
    struct move_list *list = move_list_new();
    struct error err = ERROR_NONE;
    (void)state;
    assert_null(move_list_get(list, "a"));
    assert_int_equal(move_list_begin(list, "a", "h1", &err), 0);
    assert_int_equal(move_list_begin(list, "a", "h1", &err), -EEXIST);
    assert_string_equal(state_of(list, "a"), "receiving");
    move_list_end(list, "a", MOVE_RUNNING, NULL, json_pack("{s:i}", "run_ns", 5));
    assert_string_equal(state_of(list, "a"), "running");
    move_list_free(list);
}

static void a_move_is_of_the_host_that_began_it(void **state)
{
    struct move_list *list = move_list_new();
    struct error err = ERROR_NONE;
    (void)state;
    assert_int_equal(move_list_begin(list, "a", "h1", &err), 0);
    assert_true(move_list_is_from(list, "a", "h1"));
    assert_false(move_list_is_from(list, "a", "h2"));
    assert_false(move_list_is_from(list, "b", "h1"));
    move_list_free(list);
}

static void the_reason_of_an_end_is_told(void **state)
{
    struct move_list *list = move_list_new();
    struct error err = ERROR_NONE;
    (void)state;
    assert_int_equal(move_list_begin(list, "a", "h1", &err), 0);
    error_set(&err, ETIMEDOUT, "the source never came");
    move_list_end(list, "a", MOVE_ABANDONED, &err, NULL);
    json_t *move = move_list_get(list, "a");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(move, "error"), "message")),
        "the source never came");
    json_decref(move);
    move_list_free(list);
}

static void *give_up_when_asked(void *context)
{
    struct move_list *list = context;
    while (!move_list_is_cancelled(list, "a")) {
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    }
    move_list_end(list, "a", MOVE_ABANDONED, NULL, NULL);
    return NULL;
}

static void giving_up_waits_for_the_end(void **state)
{
    struct move_list *list = move_list_new();
    struct error err = ERROR_NONE;
    pthread_t thread;
    (void)state;
    assert_int_equal(move_list_begin(list, "a", "h1", &err), 0);
    assert_int_equal(move_list_cancel(list, "a", false, NANOSECONDS_PER_MILLISECOND, &err),
                     -ETIMEDOUT);
    assert_int_equal(pthread_create(&thread, NULL, give_up_when_asked, list), 0);
    assert_int_equal(move_list_cancel(list, "a", true, 20 * NANOSECONDS_PER_SECOND, &err),
                     MOVE_ABANDONED);
    pthread_join(thread, NULL);
    assert_int_equal(move_list_cancel(list, "b", false, 0, &err), -ENOENT);
    move_list_free(list);
}

static void only_so_many_that_ended_are_kept(void **state)
{
    struct move_list *list = move_list_new();
    struct error err = ERROR_NONE;
    char id[16];
    (void)state;
    assert_int_equal(move_list_begin(list, "going on", "h1", &err), 0);
    for (int i = 0; i <= MOVES_ENDED_KEPT; i++) {
        snprintf(id, sizeof(id), "%d", i);
        assert_int_equal(move_list_begin(list, id, "h1", &err), 0);
        move_list_end(list, id, MOVE_RUNNING, NULL, NULL);
    }
    assert_null(move_list_get(list, "0"));
    assert_string_equal(state_of(list, "1"), "running");
    assert_string_equal(state_of(list, "going on"), "receiving");
    move_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_is_known_from_its_beginning_to_after_its_end),
        cmocka_unit_test(a_move_is_of_the_host_that_began_it),
        cmocka_unit_test(the_reason_of_an_end_is_told),
        cmocka_unit_test(giving_up_waits_for_the_end),
        cmocka_unit_test(only_so_many_that_ended_are_kept),
    };
    return cmocka_run_group_tests_name("agent-move-list", tests, NULL, NULL);
}
