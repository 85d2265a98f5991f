/* Processes by their user: see strays.h. */
#include "agent/strays.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/process.h"

/* The real user of a process; (uid_t)-1 when it is gone. */
static uid_t user_of(const char *pid)
{
    char path[64];
    char line[256];
    unsigned uid = (unsigned)-1;
    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    CLEANUP_FILE FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Uid: %u", &uid) == 1) {
            break;
        }
    }
    return uid;
}

static int kill_one(pid_t pid, uid_t uid, struct error *err)
{
    struct process_identity identity;
    char text[16];
    if (process_identify(pid, &identity) < 0) {
        return 0;
    }
    snprintf(text, sizeof(text), "%d", (int)pid);
    return user_of(text) == uid ? process_kill(&identity, err) : 0; /* asked again: no reuse */
}

int strays_kill(uid_t uid, struct error *err)
{
    assert(uid != 0);
    CLEANUP_DIRECTORY DIR *proc = opendir("/proc");
    if (!proc) {
        return error_set_errno(err, errno, "cannot list processes");
    }
    const struct dirent *entry;
    while ((entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]) && user_of(entry->d_name) == uid) {
            int result = kill_one((pid_t)atoi(entry->d_name), uid, err);
            if (result < 0) {
                return result;
            }
        }
    }
    return 0;
}
