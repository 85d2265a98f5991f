/* Tasks: what the agent does for us while we wait. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "cli/command.h"

#define TASK_ID_SIZE 64
#define TASK_ID_SHOWN 8 /* as much of an id as a list shows */

/* Called whenever the agent was asked: with the task, or NULL when it does not answer for the
 * moment. A negative result ends the waiting and is returned by task_follow(). */
typedef int task_watch_function(void *context, const json_t *task, struct error *err);

/* Starts a task: POST path with a body (may be NULL). *ret_task is a new reference. */
int task_start(struct api *api, const char *path, const json_t *body, json_t **ret_task,
               struct error *err);

/* Waits until a task has ended; an agent that is restarted meanwhile is waited for. `watch` may be
 * NULL. *ret_task is a new reference to the ended task, whatever its end. */
int task_follow(struct api *api, const json_t *task, task_watch_function *watch, void *context,
                json_t **ret_task, struct error *err);

/* 0 for a task that succeeded; otherwise its error, -ECANCELED when it was cancelled. */
int task_result(const json_t *task, struct error *err);

/* The id of the task that the word at `index` of the command line begins, as `task list` shows it:
 * -ENOENT when there is none, -EINVAL when there are several. */
int task_find(struct cli *cli, size_t index, char ret_id[TASK_ID_SIZE], struct error *err);

/* Asks the agent to cancel a task. */
int task_cancel(struct api *api, const json_t *task, struct error *err);

/* Starts a task, waits for its end, and says "NAME DONE" (or prints the task as JSON). */
int task_run(struct cli *cli, const char *path, const json_t *body, const char *name,
             const char *done, struct error *err);
