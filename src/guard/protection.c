/* What keeps the guard going: see protection.h. */
#include "guard/protection.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "guard/instructions.h"

#define OOM_NEVER "-1000"

static void complain(const char *what)
{
    log_warning("%s: %s; going on without", what, strerror(errno));
}

static void lock_memory(void)
{
    mallopt(M_ARENA_MAX, 1); /* each arena would be locked in memory, whole */
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        complain("cannot lock memory");
    }
}

/* The lowest of them: before all ordinary processes, after whatever else is real-time. */
static void take_priority(void)
{
    struct sched_param parameters = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    if (sched_setscheduler(0, SCHED_FIFO, &parameters) < 0) {
        complain("cannot take real-time priority");
    }
}

static void leave_oom_list(void)
{
    CLEANUP_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || file_write_all(fd, OOM_NEVER, strlen(OOM_NEVER)) < 0) {
        complain("cannot be excepted from the OOM killer");
    }
}

/* Whoever reads the log may hang: a line is lost rather than a heartbeat. A terminal belongs to
 * others too, and is left as it is. */
static void unblock_log(void)
{
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    if (flags >= 0 && !isatty(STDERR_FILENO)) {
        fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
    }
}

void protection_take(void)
{
    lock_memory();
    take_priority();
    leave_oom_list();
    unblock_log();
}

int protection_lock(const char *run_folder, struct error *err)
{
    CLEANUP_FREE char *folder = file_path("%s/" INSTRUCTIONS_FOLDER, run_folder);
    CLEANUP_FREE char *path = file_path("%s/" INSTRUCTIONS_FOLDER "/drover-guard.lock", run_folder);
    if (!folder || !path) {
        return error_set_errno(err, ENOMEM, "cannot lock %s", run_folder);
    }
    int result = file_make_folders(folder, 0711, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot lock %s", folder);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        error_set(err, EBUSY, "another drover-guard runs with the run folder %s", run_folder);
        return error_remedy(err, "one is enough; end it first, or give this one a folder of its "
                                 "own");
    }
    steal_fd(&fd); /* open for as long as we live */
    return 0;
}
