/* Following tasks: see task.h. */
#include "cli/task.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/fields.h"

#define WAIT_MS 250    /* also how soon Ctrl-C is noticed and a clock on the screen moves */
#define ASK_SECONDS 3L /* an agent that hangs must not keep Ctrl-C waiting */
#define RETRY_NS (500 * NANOSECONDS_PER_MILLISECOND)
#define PAUSE_NS (50 * NANOSECONDS_PER_MILLISECOND)

/* How long an agent may be away (an upgrade, a crash): the work goes on without it. */
#define AWAY_NS (30 * NANOSECONDS_PER_SECOND)

/* A task must have an id, a state and a revision that make sense, or it cannot be followed. */
static int check(const json_t *task, struct error *err)
{
    static const char *const states[] = {"running", "succeeded", "failed", "cancelled"};
    const char *id;
    const char *state;
    int64_t revision;
    if (json_get_string(task, "the task", "id", &id, err) < 0 ||
        json_get_string(task, "the task", "state", &state, err) < 0 ||
        json_get_integer(task, "the task", "revision", 0, INT64_MAX, &revision, err) < 0) {
        err->code = EPROTO;
        return -EPROTO;
    }
    if (!file_name_is_safe(id)) {
        return error_set(err, EPROTO, "the task: \"id\" is no name");
    }
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(state, states[i]) == 0) {
            return 0;
        }
    }
    return error_set(err, EPROTO, "the task: \"%s\" is no state", state);
}

/* An answer is a task or holds one. */
static int unwrap(json_t *answer, json_t **ret_task, struct error *err)
{
    json_t *inner = json_object_get(answer, "task");
    json_t *task = json_is_object(inner) ? inner : answer;
    if (check(task, err) < 0) {
        return error_wrap(err, "the agent's answer is not understood");
    }
    *ret_task = json_incref(task);
    return 0;
}

int task_start(struct api *api, const char *path, const json_t *body, json_t **ret_task,
               struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    int result = api_call(api, "POST", path, body, API_SECONDS, &answer, err);
    return result < 0 ? result : unwrap(answer, ret_task, err);
}

static int ask(struct api *api, const char *id, int64_t after, json_t **ret_task, struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    CLEANUP_FREE char *path =
        file_path("/v1/tasks/%s?after=%lld&wait_ms=%d", id, (long long)after, WAIT_MS);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot follow task %s", id);
    }
    int result = api_call(api, "GET", path, NULL, ASK_SECONDS, &answer, err);
    return result < 0 ? result : unwrap(answer, ret_task, err);
}

static bool is_away(int result)
{
    return result == -ECONNREFUSED || result == -ECONNRESET || result == -ETIMEDOUT;
}

static int64_t revision_of(const json_t *task)
{
    return json_integer_value(json_object_get(task, "revision"));
}

/* An agent that was restarted forgets its tasks, but goes on with what they did under a new id: the
 * newest of the same kind for the same VM. New reference in *ret_task. */
static int find_successor(struct api *api, const json_t *task, json_t **ret_task, struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    size_t index;
    json_t *candidate;
    int result = api_call(api, "GET", "/v1/tasks", NULL, ASK_SECONDS, &answer, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (json_object_get(answer, "tasks"), index, candidate) {
        if (strcmp(field_text(candidate, "kind"), field_text(task, "kind")) == 0 &&
            strcmp(field_text(candidate, "vm"), field_text(task, "vm")) == 0) {
            return unwrap(candidate, ret_task, err);
        }
    }
    error_set(err, ENOENT, "the agent does not know task %s any more", field_text(task, "id"));
    return error_remedy(err, "it was restarted; drover vm show tells what is true now");
}

/* Asks again until the agent answers or was away for too long. */
static int ask_patiently(struct api *api, const json_t *task, task_watch_function *watch,
                         void *context, json_t **ret_task, struct error *err)
{
    const char *id = field_text(task, "id");
    uint64_t deadline = clock_monotonic_ns() + AWAY_NS;
    for (;;) {
        int result = ask(api, id, revision_of(task), ret_task, err);
        if (result == -ENOENT) {
            result = find_successor(api, task, ret_task, err);
        }
        if (!is_away(result)) {
            return result;
        }
        if (clock_monotonic_ns() > deadline) {
            return error_wrap(err, "task %s goes on unseen", id);
        }
        struct error stopped = ERROR_NONE;
        result = watch ? watch(context, NULL, &stopped) : 0;
        if (result < 0) {
            *err = stopped;
            return result;
        }
        clock_sleep_ns(RETRY_NS);
    }
}

static bool is_running(const json_t *task)
{
    return strcmp(field_text(task, "state"), "running") == 0;
}

int task_follow(struct api *api, const json_t *task, task_watch_function *watch, void *context,
                json_t **ret_task, struct error *err)
{
    CLEANUP_JSON json_t *current = json_incref((json_t *)task);
    for (;;) {
        int result = watch ? watch(context, current, err) : 0;
        if (result < 0) {
            return result;
        }
        if (!is_running(current)) {
            *ret_task = steal_pointer(&current);
            return 0;
        }
        json_t *next = NULL;
        result = ask_patiently(api, current, watch, context, &next, err);
        if (result < 0) {
            return result;
        }
        if (revision_of(next) == revision_of(current)) {
            clock_sleep_ns(PAUSE_NS); /* an agent that does not wait must not be asked in a loop */
        }
        json_decref(current);
        current = next;
    }
}

int task_result(const json_t *task, struct error *err)
{
    const char *state = field_text(task, "state");
    if (strcmp(state, "succeeded") == 0) {
        return 0;
    }
    bool explained = json_is_object(json_object_get(task, "error"));
    if (explained) {
        json_to_error(task, err);
    }
    if (strcmp(state, "cancelled") == 0) {
        if (!explained) {
            error_set(err, ECANCELED, "task %s was cancelled", field_text(task, "id"));
        }
        err->code = ECANCELED;
    } else if (!explained) {
        error_set(err, EIO, "task %s failed, and the agent does not say why",
                  field_text(task, "id"));
    }
    return -err->code;
}

/* Takes a task whose id begins with the word; a whole id is no beginning of another one. */
static int match(const json_t *task, const char *word, char ret_id[TASK_ID_SIZE], struct error *err)
{
    const char *id = field_text(task, "id");
    if (strncmp(id, word, strlen(word)) != 0 || strcmp(ret_id, word) == 0) {
        return 0;
    }
    if (ret_id[0] && strcmp(id, word) != 0) {
        error_set(err, EINVAL, "the ids of more than one task begin with \"%s\"", word);
        return error_remedy(err, "give more of it; drover task list --json has them whole");
    }
    snprintf(ret_id, TASK_ID_SIZE, "%s", id);
    return 0;
}

int task_find(struct cli *cli, size_t index, char ret_id[TASK_ID_SIZE], struct error *err)
{
    CLEANUP_JSON json_t *answer = NULL;
    const char *word;
    size_t position;
    const json_t *task;
    if (command_name(cli, index, "task", &word, err) < 0 ||
        api_get(cli->api, "/v1/tasks", &answer, err) < 0) {
        return -err->code;
    }
    ret_id[0] = '\0';
    json_array_foreach (json_object_get(answer, "tasks"), position, task) {
        int result = match(task, word, ret_id, err);
        if (result < 0) {
            return result;
        }
    }
    if (!file_name_is_safe(ret_id)) {
        error_set(err, ENOENT, "there is no task \"%s\"", word);
        return error_remedy(err, "drover task list shows those that the agent remembers");
    }
    return 0;
}

int task_cancel(struct api *api, const json_t *task, struct error *err)
{
    CLEANUP_FREE char *path = file_path("/v1/tasks/%s/cancel", field_text(task, "id"));
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot cancel the task");
    }
    return api_call(api, "POST", path, NULL, ASK_SECONDS, NULL, err);
}

int task_run(struct cli *cli, const char *path, const json_t *body, const char *name,
             const char *done, struct error *err)
{
    CLEANUP_JSON json_t *first = NULL;
    CLEANUP_JSON json_t *last = NULL;
    int result = task_start(cli->api, path, body, &first, err);
    if (result == 0) {
        result = task_follow(cli->api, first, NULL, NULL, &last, err);
    }
    if (result == 0 && cli->json) {
        result = command_print_json(cli, last, err);
    }
    if (result == 0) {
        result = task_result(last, err);
    }
    if (result == 0 && !cli->json) {
        fprintf(cli->output.stream, "%s %s\n", name, done);
    }
    return result;
}
