/* Processes by their user: see strays.h. */
#include "agent/vm/strays.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/process.h"

/* Whether a process is of that real user: 1 or 0 (also when it is gone), or -errno when that cannot
 * be told: a stray that is overlooked could be a second copy of a VM. */
static int is_of(const char *pid, uid_t uid)
{
    char path[64];
    char line[256];
    unsigned user = (unsigned)-1;
    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    CLEANUP_FILE FILE *file = fopen(path, "re");
    if (!file) {
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    }
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Uid: %u", &user) == 1) {
            break;
        }
    }
    return user == uid;
}

static int kill_one(const char *pid, uid_t uid, struct error *err)
{
    struct process_identity identity;
    int result = is_of(pid, uid);
    if (result > 0 && (result = process_identify((pid_t)atoi(pid), &identity)) == 0) {
        result = is_of(pid, uid); /* asked again: no reuse */
    }
    if (result < 0 && result != -ESRCH) {
        return error_set_errno(err, result, "cannot look at process %s", pid);
    }
    return result > 0 ? process_kill(&identity, err) : 0;
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
        int result =
            isdigit((unsigned char)entry->d_name[0]) ? kill_one(entry->d_name, uid, err) : 0;
        if (result < 0) {
            return result;
        }
    }
    return 0;
}
