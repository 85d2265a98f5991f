/*
 * What a process that we start gives up before it becomes its program: privileges, the file system,
 * the network, resources. For programs that parse what strangers send, or run what strangers wrote.
 *
 * Theory of operation. All of it happens in the child, between fork and exec, while it is still
 * root, in this order: limits; namespaces of its own (mounts, System V IPC, host name, and network
 * unless it needs one); a new root, a read-only tmpfs that holds nothing but the named paths; an
 * empty capability bounding set; the user; no_new_privs. A program must be loaded from somewhere,
 * so its root cannot be empty at exec: one that opens nothing afterwards may keep CAP_SYS_CHROOT
 * for as long as it takes it to leave for CONFINE_EMPTY_FOLDER, by confine_leave_files().
 *
 * There is no PID namespace: its first process would be immune to SIGKILL from its own timers,
 * which must be able to end a QEMU whose datastore is gone. /proc hides the processes of others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define CONFINE_PATHS_MOST 16
#define CONFINE_EMPTY_FOLDER "/empty" /* in the new root: nothing is in it, nothing can be put */

enum confine_access {
    CONFINE_READ,   /* read-only; no devices, no set-user-ID */
    CONFINE_WRITE,  /* as its permissions say; nothing can be executed from it */
    CONFINE_DEVICE, /* one device file */
};

/* A file or folder, with all below it, under its own path. A symbolic link is made again as it is.
 * What does not exist is left out. */
struct confine_path {
    const char *path; /* absolute */
    enum confine_access access;
};

struct confine_limit {
    int resource; /* RLIMIT_... */
    uint64_t most;
};

struct confinement {
    const struct confine_path *paths;
    size_t path_count;
    const struct confine_limit *limits; /* soft and hard alike; never above what we have */
    size_t limit_count;
    bool has_proc;      /* /proc, of its own processes alone */
    bool keeps_network; /* the host's; otherwise an empty network namespace */
    bool may_chroot;    /* keeps CAP_SYS_CHROOT over exec: confine_leave_files() must follow */
};

/* The paths that any program of the system needs to be loaded: libraries, and where they are. */
#define CONFINE_LIBRARIES                                                     \
    {"/usr", CONFINE_READ}, {"/lib", CONFINE_READ}, {"/lib64", CONFINE_READ}, \
    {                                                                         \
        "/etc/ld.so.cache", CONFINE_READ                                      \
    }
#define CONFINE_LIBRARY_PATHS 4

/* In the child, as root; async-signal-safe. On failure -errno, and *ret_doing says what failed
 * (static text). */
int confine_enter(const struct confinement *confinement, const char **ret_doing);

/* In the child: becomes that user, without other groups or any capability (but one, see above), for
 * ever. `confinement` may be NULL. Async-signal-safe. */
int confine_become(uid_t uid, gid_t gid, const struct confinement *confinement,
                   const char **ret_doing);

/* In the program: leaves the file system for the empty folder, where it was started with the right
 * to, and gives up that right and any other. Fails when a capability is left in any set. */
int confine_leave_files(struct error *err);
