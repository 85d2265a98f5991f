/* A QMP connection in its shortest form: one command at a time, events in their order. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct qmp {
    int fd;
    FILE *input;
    json_t *events; /* that came and were not waited for yet, oldest first */
};

/* Takes over the connected socket `fd` of a fresh QEMU, and goes through the greeting. */
void qmp_start(struct qmp *qmp, int fd);

/* Closes the connection; one that was never greeted too. */
void qmp_stop(struct qmp *qmp);

/*
 * Runs `command`; `arguments` is consumed and may be NULL. Returns the whole answer, with the
 * member "return" or "error", which the caller releases with json_decref().
 */
json_t *qmp_try(struct qmp *qmp, const char *command, json_t *arguments);

/* The same; an error fails the test. Returns what "return" held. */
json_t *qmp_run(struct qmp *qmp, const char *command, json_t *arguments);

/* The same for commands whose answer does not matter. */
void qmp_do(struct qmp *qmp, const char *command, json_t *arguments);

/* Gives QEMU a descriptor under `name`, with getfd. The caller keeps his own. */
void qmp_give(struct qmp *qmp, const char *name, int fd);

/*
 * Waits for the event `name`, if `status` is not NULL the one whose data has that status. Earlier
 * events are passed over: waiting for one and then for another proves their order.
 */
void qmp_expect(struct qmp *qmp, const char *name, const char *status);
