/* A program that a node's init keeps: the agent, the guard, sanlock's daemon. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"

#define SERVICE_ARGUMENTS_MOST 24

struct service {
    const char *name; /* in errors: "agent" */
    const char *node;
    const char *arguments[SERVICE_ARGUMENTS_MOST]; /* NULL-terminated; [0] "" in a lab without it */
    const char *const *environment;
    const char *folder; /* made before it starts; NULL: none */
    const char *log;    /* the file's name */
    char log_path[512];
    bool restarts; /* started again when it ends though nobody stopped it, as systemd would */

    struct process_identity process; /* pid 0: none runs */
    int status;                      /* wait status of the last one; -1: there was none */
    bool wanted;                     /* it was started, and not stopped since */
    uint64_t started_ns;             /* clock_monotonic_ns() */
};

int service_start(struct service *service, struct error *err);

/* SIGTERM, and no start again by itself. */
int service_stop(struct service *service, struct error *err);

/* SIGKILL, as a crash would end it. */
int service_kill(struct service *service, struct error *err);

/* {"state": "running", "pid"} or {"state": "stopped", "ended": how}. New reference. */
json_t *service_state(const struct service *service);

/* A child of the init has ended: when it was this service, notes it. */
void service_note_end(struct service *service, pid_t pid, int status);

/* Starts one again that ended and should run. Returns in how many milliseconds to try again: one
 * that ends as soon as it is started is given a pause; -1: there is nothing to do. */
int service_look_after(struct service *service);
