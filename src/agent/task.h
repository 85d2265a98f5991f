/*
 * Tasks: what takes long (start, stop, migrate) runs in a thread of its own, and can be watched and
 * cancelled through the API. A task is known by its id; each change raises its revision, for which
 * watchers wait.
 *
 * Locks: the list's mutex is a leaf: nothing else is taken while it is held.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"

#define TASKS_ENDED_KEPT 100

enum task_state { TASK_RUNNING, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED };

struct task_list;
struct task;

/* What a task does, in its own thread. 0: succeeded; negative with err filled: failed, or cancelled
 * when the code is ECANCELED. Owns `context`. */
typedef int task_function(struct task *task, void *context, struct error *err);

struct task_list *task_list_new(void);

/* Waits for running tasks first. For tests; the agent never frees its list. */
void task_list_free(struct task_list *list);

/* A new task, not yet running; its id is readable at once. Either task_run() or task_discard()
 * follows. NULL without memory. */
struct task *task_new(struct task_list *list, const char *kind, const char *vm_name);
const char *task_id(const struct task *task);

/* Runs it in a thread of its own; the list owns it from then on. On failure `function` was not
 * called and `context` is still the caller's; the task is discarded. */
int task_run(struct task *task, task_function *function, void *context, struct error *err);
void task_discard(struct task *task);

/* From the task's own thread. The JSON values' references are taken over (NULL allowed). */
void task_set_phase(struct task *task, const char *phase);
void task_set_progress(struct task *task, double fraction, json_t *progress);
/* It stands still: for what, and what to do about that; NULL: it does not any more. */
void task_set_waiting(struct task *task, const char *what);
void task_set_report(struct task *task, json_t *report);
bool task_is_cancelled(const struct task *task);

/* A task as in the API; NULL when there is none. `after` and `wait_ns`: waits until its revision is
 * newer than `after` or it ended, at most wait_ns. */
json_t *task_list_get(struct task_list *list, const char *id, int64_t after, uint64_t wait_ns);

/* All of them, newest first. */
json_t *task_list_all(struct task_list *list);

/* Asks a task to give up. -ENOENT, or -EBUSY when it has ended. */
int task_list_cancel(struct task_list *list, const char *id, struct error *err);
