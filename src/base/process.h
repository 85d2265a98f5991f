/*
 * Processes of our own: started with exactly the descriptors, identity and environment that they
 * are given, known by pid *and* start time so that a reused pid is never taken for them, ended by
 * pidfd.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/confine.h"
#include "base/error.h"

/* A descriptor that the child gets, under the number it will have there. */
struct process_fd {
    int parent_fd;
    int child_fd; /* 1 and 2 replace standard output and error */
};

struct process_spec {
    const char *const *arguments;   /* NULL-terminated; [0] is the program (looked up in PATH) */
    const char *const *environment; /* NULL-terminated NAME=VALUE; NULL: PATH only */
    const struct process_fd *fds;
    size_t fd_count;
    const char *log_path; /* where standard output and error are appended; NULL: inherited */
    uid_t uid;            /* 0: stay as we are; otherwise this uid and gid, no other group, no */
    gid_t gid;            /* capability, none to be had again, and no_new_privs */
    const struct confinement *confinement; /* what else it gives up, with a uid; NULL: nothing */
};

/* Who a process is: survives our own restart when stored. */
struct process_identity {
    pid_t pid;
    uint64_t start_time; /* field 22 of /proc/PID/stat, clock ticks since boot */
};

/* Starts a process in a session of its own. The child is ours to reap (process_wait()), except
 * after we restart. Failures of exec itself are reported here, not later. */
int process_start(const struct process_spec *spec, struct process_identity *ret_identity,
                  struct error *err);

/* Ourselves. */
void process_self(struct process_identity *ret_identity);

/* Who runs under `pid` now; -ESRCH when nobody does. For children started by other means. */
int process_identify(pid_t pid, struct process_identity *ret_identity);

/* Whether exactly that process still runs (a zombie does not). True when that cannot be told (no
 * descriptors left): the living must not be taken for dead. */
bool process_is_alive(const struct process_identity *identity);

/* A pidfd for exactly that process; -ESRCH when it is gone (a zombie is). */
int process_open(const struct process_identity *identity, struct error *err);

/* Sends a signal to exactly that process; -ESRCH when it is gone. */
int process_signal(const struct process_identity *identity, int signal, struct error *err);

/* SIGKILLs exactly that process and waits until it is gone, at most 10 s. Gone already is success.
 */
int process_kill(const struct process_identity *identity, struct error *err);

/* Waits for a process to end: 1 ended, 0 time limit reached, negative errno when that cannot be
 * told. Reaps it when it is our child; ret_status (wait status, may be NULL) is -1 when it was not.
 */
int process_wait(const struct process_identity *identity, uint64_t timeout_ns, int *ret_status);
