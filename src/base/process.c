/* Processes: see process.h. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"

#define KILL_TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)
#define FDS_MOST 64
#define FIRST_PARKED_FD 1000 /* descriptors wait above this while they are renumbered */

/* ---- in the child, between fork and exec: async-signal-safe calls only ---- */

static int redirect_standard_streams(const char *log_path)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0) {
        return -errno;
    }
    if (!log_path) {
        return 0;
    }
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        return -errno;
    }
    return 0;
}

/* Parked first, then placed: no child number overwrites a descriptor that is still needed. All
 * others close on exec, whatever another thread was just opening. */
static int place_fds(const struct process_fd *fds, size_t count)
{
    int parked[FDS_MOST];
    for (size_t i = 0; i < count; i++) {
        parked[i] = fcntl(fds[i].parent_fd, F_DUPFD_CLOEXEC, FIRST_PARKED_FD);
        if (parked[i] < 0) {
            return -errno;
        }
    }
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < count; i++) {
        if (dup2(parked[i], fds[i].child_fd) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* The raw calls: glibc's wrappers would signal threads that this child does not have. Leaving uid 0
 * empties the capability sets; no_new_privs keeps any exec from filling them again. */
static int take_identity(const struct process_spec *spec)
{
    if (spec->uid != 0) {
        if (syscall(SYS_setgroups, 0, NULL) < 0 ||
            syscall(SYS_setresgid, spec->gid, spec->gid, spec->gid) < 0 ||
            syscall(SYS_setresuid, spec->uid, spec->uid, spec->uid) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int prepare_child(const struct process_spec *spec)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    int result = redirect_standard_streams(spec->log_path);
    if (result == 0) {
        result = place_fds(spec->fds, spec->fd_count);
    }
    return result < 0 ? result : take_identity(spec);
}

/* Never returns: the program runs, or the reason it does not goes into the pipe. */
static void run_child(const struct process_spec *spec, int status_pipe)
{
    static const char *const default_environment[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    status_pipe = fcntl(status_pipe, F_DUPFD_CLOEXEC, FIRST_PARKED_FD);
    int result = prepare_child(spec);
    if (result == 0) {
        execvpe(spec->arguments[0], (char *const *)spec->arguments,
                (char *const *)(spec->environment ? spec->environment : default_environment));
        result = -errno;
    }
    ssize_t written = write(status_pipe, &result, sizeof(result));
    _exit(written == sizeof(result) ? 127 : 126);
}

/* ---- in the parent ---- */

/* Reads a process's state letter and start time; -ESRCH when there is no such process. */
static int read_stat(pid_t pid, char *ret_state, uint64_t *ret_start_time)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (length <= 0) {
        return -ESRCH;
    }
    text[length] = '\0';
    const char *after_name = strrchr(text, ')'); /* the name may contain anything */
    unsigned long long start_time;
    if (!after_name ||
        sscanf(after_name,
               ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
               "%*d %*d %llu",
               ret_state, &start_time) != 2) {
        return -ESRCH;
    }
    *ret_start_time = start_time;
    return 0;
}

int process_start(const struct process_spec *spec, struct process_identity *ret_identity,
                  struct error *err)
{
    if (spec->fd_count > FDS_MOST) {
        return error_set(err, E2BIG, "cannot start %s: more than %d descriptors to pass",
                         spec->arguments[0], FDS_MOST);
    }
    int status_pipe[2];
    if (pipe2(status_pipe, O_CLOEXEC) < 0) {
        return error_set_errno(err, errno, "cannot start %s", spec->arguments[0]);
    }
    CLEANUP_CLOSE int reader = status_pipe[0];
    CLEANUP_CLOSE int writer = status_pipe[1];
    pid_t pid = fork();
    if (pid < 0) {
        return error_set_errno(err, errno, "cannot start %s", spec->arguments[0]);
    }
    if (pid == 0) {
        run_child(spec, writer);
    }
    close_fd(&writer);
    int reason = 0;
    if (read(reader, &reason, sizeof(reason)) == sizeof(reason)) {
        waitpid(pid, NULL, 0);
        return error_set_errno(err, reason, "cannot start %s", spec->arguments[0]);
    }
    char state;
    ret_identity->pid = pid;
    if (read_stat(pid, &state, &ret_identity->start_time) < 0) {
        return error_set(err, ESRCH, "%s ended as soon as it was started", spec->arguments[0]);
    }
    return 0;
}

bool process_is_alive(const struct process_identity *identity)
{
    char state;
    uint64_t start_time;
    return identity->pid > 0 && read_stat(identity->pid, &state, &start_time) == 0 &&
           start_time == identity->start_time && state != 'Z' && state != 'X';
}

int process_open(const struct process_identity *identity, struct error *err)
{
    CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, identity->pid, 0);
    if (pidfd < 0 || !process_is_alive(identity)) { /* checked after opening: no reuse in between */
        return error_set(err, ESRCH, "process %d is gone", (int)identity->pid);
    }
    return steal_fd(&pidfd);
}

int process_kill(const struct process_identity *identity, struct error *err)
{
    CLEANUP_CLOSE int pidfd = process_open(identity, NULL);
    if (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 &&
        errno != ESRCH) {
        return error_set_errno(err, errno, "cannot end process %d", (int)identity->pid);
    }
    if (process_wait(identity, KILL_TIMEOUT_NS, NULL) == 0) {
        return error_set(err, ETIMEDOUT, "process %d does not end", (int)identity->pid);
    }
    return 0;
}

int process_wait(const struct process_identity *identity, uint64_t timeout_ns, int *ret_status)
{
    int status = -1;
    CLEANUP_CLOSE int pidfd = process_open(identity, NULL);
    if (pidfd >= 0 && socket_wait_readable(pidfd, timeout_ns) == 0) {
        return 0;
    }
    if (waitpid(identity->pid, &status, WNOHANG) != identity->pid) {
        status = -1;
    }
    if (ret_status) {
        *ret_status = status;
    }
    return 1;
}
