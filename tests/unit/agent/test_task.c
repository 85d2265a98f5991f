/* Tasks: watched by revision, cancelled by wish, forgotten when too many. */
#include "test.h"

#include <semaphore.h>

#include "agent/task.h"
#include "base/clock.h"

#define LONG_NS (20 * NANOSECONDS_PER_SECOND)

/* A task that waits for the test at each step. */
struct script {
    sem_t go;
    int result;
};

static int obey(struct task *task, void *context, struct error *err)
{
    struct script *script = context;
    sem_wait(&script->go);
    task_set_phase(task, "pre-copy");
    task_set_progress(task, 0.5, json_pack("{s:i}", "round", 1));
    task_set_progress(task, 0.25, json_pack("{s:i}", "round", 2));
    sem_wait(&script->go);
    if (task_is_cancelled(task)) {
        return error_set(err, ECANCELED, "given up");
    }
    task_set_report(task, json_pack("{s:s}", "outcome", "moved"));
    return script->result < 0 ? error_set(err, script->result, "no luck") : 0;
}

static int at_once(struct task *task, void *context, struct error *err)
{
    (void)task;
    (void)context;
    (void)err;
    return 0;
}

static void start(struct task_list *list, task_function *function, void *context, char id[37])
{
    struct error err = ERROR_NONE;
    struct task *task = task_new(list, "migrate", "web1");
    assert_non_null(task);
    snprintf(id, 37, "%s", task_id(task));
    assert_int_equal(task_run(task, function, context, &err), 0);
}

static const char *text(const json_t *task, const char *key)
{
    const char *value = json_string_value(json_object_get(task, key));
    return value ? value : "(null)";
}

/* Waits until the task has ended. */
static json_t *await_end(struct task_list *list, const char *id)
{
    int64_t revision = 0;
    for (;;) {
        json_t *task = task_list_get(list, id, revision, LONG_NS);
        assert_non_null(task);
        if (strcmp(text(task, "state"), "running") != 0) {
            return task;
        }
        revision = json_integer_value(json_object_get(task, "revision"));
        json_decref(task);
    }
}

static void progress_is_seen_by_revision_and_never_runs_backwards(void **state)
{
    struct task_list *list = task_list_new();
    struct script script = {0};
    char id[37];
    (void)state;
    sem_init(&script.go, 0, 0);
    start(list, obey, &script, id);
    json_t *task = task_list_get(list, id, -1, 0);
    int64_t first = json_integer_value(json_object_get(task, "revision"));
    assert_string_equal(text(task, "state"), "running");
    json_decref(task);
    sem_post(&script.go);
    task = task_list_get(list, id, first + 2, LONG_NS); /* two changes on: the last progress */
    assert_string_equal(text(task, "phase"), "pre-copy");
    assert_true(json_real_value(json_object_get(task, "fraction")) == 0.5);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(task, "progress"), "round")), 2);
    json_decref(task);
    sem_post(&script.go);
    task = await_end(list, id);
    assert_string_equal(text(task, "state"), "succeeded");
    assert_string_equal(text(json_object_get(task, "report"), "outcome"), "moved");
    json_decref(task);
    task_list_free(list);
}

static void a_failure_is_told_in_words(void **state)
{
    struct task_list *list = task_list_new();
    struct script script = {.result = -EIO};
    char id[37];
    (void)state;
    sem_init(&script.go, 0, 2);
    start(list, obey, &script, id);
    json_t *task = await_end(list, id);
    assert_string_equal(text(task, "state"), "failed");
    assert_string_equal(text(json_object_get(task, "error"), "message"), "no luck");
    json_decref(task);
    task_list_free(list);
}

static void a_cancelled_task_says_so_and_cannot_be_cancelled_again(void **state)
{
    struct task_list *list = task_list_new();
    struct script script = {0};
    struct error err = ERROR_NONE;
    char id[37];
    (void)state;
    sem_init(&script.go, 0, 1);
    start(list, obey, &script, id);
    assert_int_equal(task_list_cancel(list, id, &err), 0);
    sem_post(&script.go);
    json_t *task = await_end(list, id);
    assert_string_equal(text(task, "state"), "cancelled");
    json_decref(task);
    assert_int_equal(task_list_cancel(list, id, &err), -EBUSY);
    assert_int_equal(task_list_cancel(list, "no-such-task", &err), -ENOENT);
    task_list_free(list);
}

static void waiting_for_no_change_ends_in_time(void **state)
{
    struct task_list *list = task_list_new();
    struct script script = {0};
    char id[37];
    (void)state;
    sem_init(&script.go, 0, 0);
    start(list, obey, &script, id);
    json_t *task = task_list_get(list, id, 1, 10 * NANOSECONDS_PER_MILLISECOND);
    assert_string_equal(text(task, "state"), "running");
    json_decref(task);
    assert_null(task_list_get(list, "no-such-task", 0, LONG_NS));
    sem_post(&script.go);
    sem_post(&script.go);
    json_decref(await_end(list, id));
    task_list_free(list);
}

static void old_tasks_are_forgotten_new_ones_come_first(void **state)
{
    struct task_list *list = task_list_new();
    char first[37];
    char id[37];
    (void)state;
    start(list, at_once, NULL, first);
    json_decref(await_end(list, first));
    for (int i = 0; i < TASKS_ENDED_KEPT; i++) {
        start(list, at_once, NULL, id);
        json_decref(await_end(list, id));
    }
    json_t *all = task_list_all(list);
    assert_int_equal(json_array_size(all), TASKS_ENDED_KEPT);
    assert_string_equal(text(json_array_get(all, 0), "id"), id);
    assert_null(task_list_get(list, first, 0, 0));
    json_decref(all);
    task_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_seen_by_revision_and_never_runs_backwards),
        cmocka_unit_test(a_failure_is_told_in_words),
        cmocka_unit_test(a_cancelled_task_says_so_and_cannot_be_cancelled_again),
        cmocka_unit_test(waiting_for_no_change_ends_in_time),
        cmocka_unit_test(old_tasks_are_forgotten_new_ones_come_first),
    };
    return cmocka_run_group_tests_name("agent-task", tests, NULL, NULL);
}
