/* Tasks: see task.h. */
#include "agent/task.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/json.h"
#include "base/log.h"

struct task {
    struct task_list *list;
    struct task *next; /* older */
    char id[UUID_TEXT_SIZE];
    char vm_name[64];
    const char *kind; /* static text */
    task_function *function;
    void *context;
    atomic_bool cancelled;

    /* under the list's mutex */
    enum task_state state;
    const char *phase; /* static text, or NULL */
    double fraction;
    int64_t revision;
    uint64_t started_at; /* CLOCK_REALTIME */
    uint64_t ended_at;
    char waiting[512]; /* for what; empty: for nothing */
    json_t *progress;
    json_t *report;
    struct error error;
};

struct task_list {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* some task's revision rose */
    struct task *newest;
    size_t running;
};

static const char *state_name(enum task_state state)
{
    static const char *const names[] = {"running", "succeeded", "failed", "cancelled"};
    return names[state];
}

struct task_list *task_list_new(void)
{
    struct task_list *list = calloc(1, sizeof(*list));
    if (!list) {
        return NULL;
    }
    pthread_mutex_init(&list->mutex, NULL);
    condition_init(&list->changed);
    return list;
}

static void task_free(struct task *task)
{
    json_decref(task->progress);
    json_decref(task->report);
    free(task);
}

void task_list_free(struct task_list *list)
{
    if (!list) {
        return;
    }
    pthread_mutex_lock(&list->mutex);
    while (list->running > 0) {
        pthread_cond_wait(&list->changed, &list->mutex);
    }
    pthread_mutex_unlock(&list->mutex);
    while (list->newest) {
        struct task *task = list->newest;
        list->newest = task->next;
        task_free(task);
    }
    pthread_cond_destroy(&list->changed);
    pthread_mutex_destroy(&list->mutex);
    free(list);
}

struct task *task_new(struct task_list *list, const char *kind, const char *vm_name)
{
    struct task *task = calloc(1, sizeof(*task));
    if (task) {
        task->list = list;
        task->kind = kind;
        task->revision = 1;
        task->started_at = clock_realtime_ns();
        snprintf(task->vm_name, sizeof(task->vm_name), "%s", vm_name);
        uuid_generate(task->id);
    }
    return task;
}

const char *task_id(const struct task *task)
{
    return task->id;
}

void task_discard(struct task *task)
{
    if (task) {
        task_free(task);
    }
}

/* With the mutex held. */
static void mark_changed(struct task *task)
{
    task->revision++;
    pthread_cond_broadcast(&task->list->changed);
}

/* With the mutex held: forgets the oldest of too many that ended. */
static void forget_old(struct task_list *list)
{
    size_t ended = 0;
    for (struct task **link = &list->newest; *link;) {
        struct task *task = *link;
        if (task->state != TASK_RUNNING && ++ended > TASKS_ENDED_KEPT) {
            *link = task->next;
            task_free(task);
        } else {
            link = &task->next;
        }
    }
}

static void task_end(struct task *task, int result, const struct error *err)
{
    pthread_mutex_lock(&task->list->mutex);
    task->state = result >= 0              ? TASK_SUCCEEDED
                  : err->code == ECANCELED ? TASK_CANCELLED
                                           : TASK_FAILED;
    if (result < 0) {
        task->error = *err;
    } else {
        task->fraction = 1.0;
    }
    task->waiting[0] = '\0';
    task->ended_at = clock_realtime_ns();
    task->list->running--;
    mark_changed(task);
    forget_old(task->list);
    pthread_mutex_unlock(&task->list->mutex);
}

static void *task_thread(void *argument)
{
    struct task *task = argument;
    struct error err = ERROR_NONE;
    int result = task->function(task, task->context, &err);
    if (result < 0) {
        log_warning("%s of %s: %s", task->kind, task->vm_name, err.message);
    } else {
        log_info("%s of %s is done", task->kind, task->vm_name);
    }
    task_end(task, result, &err);
    return NULL;
}

/* A detached thread; the task is in the list before it runs. */
static int start_thread(struct task *task)
{
    pthread_t thread;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int result = pthread_create(&thread, &detached, task_thread, task);
    pthread_attr_destroy(&detached);
    return -result;
}

int task_run(struct task *task, task_function *function, void *context, struct error *err)
{
    struct task_list *list = task->list;
    task->function = function;
    task->context = context;
    pthread_mutex_lock(&list->mutex);
    int result = start_thread(task); /* its first call that looks at the list waits for us */
    if (result == 0) {
        task->next = list->newest;
        list->newest = task;
        list->running++;
    }
    pthread_mutex_unlock(&list->mutex);
    if (result < 0) {
        error_set_errno(err, result, "cannot start a thread for the %s of %s", task->kind,
                        task->vm_name);
        task_discard(task);
    }
    return result;
}

void task_set_phase(struct task *task, const char *phase)
{
    pthread_mutex_lock(&task->list->mutex);
    if (!task->phase || strcmp(task->phase, phase) != 0) {
        task->phase = phase;
        mark_changed(task);
    }
    pthread_mutex_unlock(&task->list->mutex);
}

void task_set_progress(struct task *task, double fraction, json_t *progress)
{
    pthread_mutex_lock(&task->list->mutex);
    task->fraction = fraction > task->fraction ? fraction : task->fraction; /* never backwards */
    json_decref(task->progress);
    task->progress = progress;
    mark_changed(task);
    pthread_mutex_unlock(&task->list->mutex);
}

void task_set_waiting(struct task *task, const char *what)
{
    pthread_mutex_lock(&task->list->mutex);
    snprintf(task->waiting, sizeof(task->waiting), "%s", what ? what : "");
    mark_changed(task);
    pthread_mutex_unlock(&task->list->mutex);
}

void task_set_report(struct task *task, json_t *report)
{
    pthread_mutex_lock(&task->list->mutex);
    json_decref(task->report);
    task->report = report;
    mark_changed(task);
    pthread_mutex_unlock(&task->list->mutex);
}

bool task_is_cancelled(const struct task *task)
{
    return atomic_load(&task->cancelled);
}

/* ---- what the API shows ---- */

static json_t *time_or_null(uint64_t realtime_ns)
{
    char text[32];
    if (realtime_ns == 0) {
        return json_null();
    }
    clock_format_utc(realtime_ns, text);
    return json_string(text);
}

static json_t *copy_or_null(const json_t *value)
{
    return value ? json_deep_copy(value) : json_null();
}

static json_t *error_or_null(const struct task *task)
{
    if (task->error.code == 0) {
        return json_null();
    }
    CLEANUP_JSON json_t *wrapped = json_from_error(&task->error);
    return json_incref(json_object_get(wrapped, "error"));
}

/* With the mutex held. */
static json_t *to_json(const struct task *task)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s?, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                     task->id, "kind", task->kind, "vm", task->vm_name, "state",
                     state_name(task->state), "revision", (json_int_t)task->revision, "phase",
                     task->phase, "fraction", task->fraction, "started_at",
                     time_or_null(task->started_at), "ended_at", time_or_null(task->ended_at),
                     "waiting", task->waiting[0] ? json_string_of_any(task->waiting) : json_null(),
                     "progress", copy_or_null(task->progress), "report", copy_or_null(task->report),
                     "error", error_or_null(task));
}

/* With the mutex held. */
static struct task *find(const struct task_list *list, const char *id)
{
    struct task *task = list->newest;
    while (task && strcmp(task->id, id) != 0) {
        task = task->next;
    }
    return task;
}

json_t *task_list_get(struct task_list *list, const char *id, int64_t after, uint64_t wait_ns)
{
    uint64_t deadline_ns = clock_monotonic_ns() + wait_ns;
    bool in_time = wait_ns > 0;
    pthread_mutex_lock(&list->mutex);
    struct task *task = find(list, id);
    while (task && task->state == TASK_RUNNING && task->revision <= after && in_time) {
        in_time = condition_wait(&list->changed, &list->mutex, deadline_ns);
        task = find(list, id); /* it may have ended and been forgotten meanwhile */
    }
    json_t *found = task ? to_json(task) : NULL;
    pthread_mutex_unlock(&list->mutex);
    return found;
}

json_t *task_list_all(struct task_list *list)
{
    json_t *all = json_array();
    pthread_mutex_lock(&list->mutex);
    for (const struct task *task = list->newest; task; task = task->next) {
        json_array_append_new(all, to_json(task));
    }
    pthread_mutex_unlock(&list->mutex);
    return all;
}

int task_list_cancel(struct task_list *list, const char *id, struct error *err)
{
    int result = 0;
    pthread_mutex_lock(&list->mutex);
    struct task *task = find(list, id);
    if (!task) {
        result = error_set(err, ENOENT, "there is no task %s", id);
    } else if (task->state != TASK_RUNNING) {
        result = error_set(err, EBUSY, "the %s of %s has ended already", task->kind, task->vm_name);
    } else {
        atomic_store(&task->cancelled, true);
    }
    pthread_mutex_unlock(&list->mutex);
    return result;
}
