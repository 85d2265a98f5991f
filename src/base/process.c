/* Processes: see process.h. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"

#define KILL_TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)
#define FDS_MOST 64

/* ---- in the child, between fork and exec: async-signal-safe calls only ---- */

/* Opens a file under a number of its choice: dup2() onto the same number would leave it
 * close-on-exec, when the descriptor was closed in us. */
static int open_as(const char *path, int flags, int number)
{
    int fd = open(path, flags, 0640);
    if (fd < 0 || (fd != number && (dup2(fd, number) < 0 || close(fd) < 0))) {
        return -errno;
    }
    return 0;
}

static int redirect_standard_streams(const char *log_path)
{
    int result = open_as("/dev/null", O_RDWR, STDIN_FILENO);
    if (result < 0 || !log_path) {
        return result;
    }
    result = open_as(log_path, O_WRONLY | O_CREAT | O_APPEND, STDOUT_FILENO);
    return result < 0 || dup2(STDOUT_FILENO, STDERR_FILENO) >= 0 ? result : -errno;
}

/* The first number above all that the child will have: what is parked there is in nobody's way. */
static int first_parked_fd(const struct process_spec *spec)
{
    int first = STDERR_FILENO + 1;
    for (size_t i = 0; i < spec->fd_count; i++) {
        first = spec->fds[i].child_fd >= first ? spec->fds[i].child_fd + 1 : first;
    }
    return first;
}

/* Parked first, then placed: no child number overwrites a descriptor that is still needed. */
static int park_fds(const struct process_spec *spec, int parked[FDS_MOST])
{
    for (size_t i = 0; i < spec->fd_count; i++) {
        parked[i] = fcntl(spec->fds[i].parent_fd, F_DUPFD_CLOEXEC, first_parked_fd(spec));
        if (parked[i] < 0) {
            return -errno;
        }
    }
    return 0;
}

/* All others close on exec, whatever another thread was just opening. */
static int place_fds(const struct process_spec *spec, const int parked[FDS_MOST])
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
        return -errno;
    }
    for (size_t i = 0; i < spec->fd_count; i++) {
        if (dup2(parked[i], spec->fds[i].child_fd) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* Why a child did not become its program. */
struct failure {
    int reason;     /* -errno */
    char doing[64]; /* empty: exec itself, or what comes before */
};

static int give_up_privileges(const struct process_spec *spec, const char **ret_doing)
{
    if (spec->uid == 0) {
        return 0;
    }
    int result = spec->confinement ? confine_enter(spec->confinement, ret_doing) : 0;
    return result < 0 ? result : confine_become(spec->uid, spec->gid, spec->confinement, ret_doing);
}

static int prepare_child(const struct process_spec *spec, const char **ret_doing)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    int parked[FDS_MOST];
    int result = park_fds(spec, parked);
    if (result < 0 || (result = redirect_standard_streams(spec->log_path)) < 0 ||
        (result = place_fds(spec, parked)) < 0) {
        return result;
    }
    return give_up_privileges(spec, ret_doing);
}

/* Never returns: the program runs, or the reason it does not goes into the pipe. */
static void run_child(const struct process_spec *spec, int status_pipe)
{
    static const char *const default_environment[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    status_pipe = fcntl(status_pipe, F_DUPFD_CLOEXEC, first_parked_fd(spec));
    const char *doing = NULL;
    int result = prepare_child(spec, &doing);
    if (result == 0) {
        doing = NULL;
        execvpe(spec->arguments[0], (char *const *)spec->arguments,
                (char *const *)(spec->environment ? spec->environment : default_environment));
        result = -errno;
    }
    struct failure failure = {.reason = result};
    strncpy(failure.doing, doing ? doing : "", sizeof(failure.doing) - 1);
    ssize_t written = write(status_pipe, &failure, sizeof(failure));
    _exit(written == sizeof(failure) ? 127 : 126);
}

/* ---- in the parent ---- */

/* -ESRCH when there is no such process; another -errno when that cannot be told: who has no
 * descriptor left must not take the living for dead. */
static int read_start_time(pid_t pid, uint64_t *ret_start_time)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    ssize_t length = read(fd, text, sizeof(text) - 1);
    if (length <= 0) {
        return length < 0 ? -errno : -ESRCH;
    }
    text[length] = '\0';
    const char *after_name = strrchr(text, ')'); /* the name may contain anything */
    unsigned long long start_time;
    if (!after_name ||
        sscanf(after_name,
               ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
               "%*d %*d %llu",
               &start_time) != 1) {
        return -ESRCH;
    }
    *ret_start_time = start_time;
    return 0;
}

/* What the child wrote before it could become the program; 0 when it did. */
static int read_failure(int reader, const char *program, struct error *err)
{
    struct failure failure;
    ssize_t length;
    do {
        length = read(reader, &failure, sizeof(failure));
    } while (length < 0 && errno == EINTR);
    if (length != sizeof(failure)) {
        return 0;
    }
    return failure.doing[0]
               ? error_set_errno(err, failure.reason, "cannot start %s: %s", program, failure.doing)
               : error_set_errno(err, failure.reason, "cannot start %s", program);
}

static int check_spec(const struct process_spec *spec, struct error *err)
{
    if (spec->fd_count > FDS_MOST) {
        return error_set(err, E2BIG, "cannot start %s: more than %d descriptors to pass",
                         spec->arguments[0], FDS_MOST);
    }
    for (size_t i = 0; i < spec->fd_count; i++) {
        if (spec->fds[i].child_fd < STDOUT_FILENO || spec->fds[i].parent_fd < 0) {
            return error_set(err, EBADF, "cannot start %s: descriptor %d cannot become its %d",
                             spec->arguments[0], spec->fds[i].parent_fd, spec->fds[i].child_fd);
        }
    }
    return 0;
}

int process_start(const struct process_spec *spec, struct process_identity *ret_identity,
                  struct error *err)
{
    int result = check_spec(spec, err);
    if (result < 0) {
        return result;
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
    result = read_failure(reader, spec->arguments[0], err);
    if (result < 0) {
        waitpid(pid, NULL, 0);
        return result;
    }
    uint64_t start_time;
    result = read_start_time(pid, &start_time);
    if (result < 0) {
        kill(pid, SIGKILL); /* our child: its number is taken until we reap it */
        waitpid(pid, NULL, 0);
        return result == -ESRCH
                   ? error_set(err, ESRCH, "%s ended as soon as it was started", spec->arguments[0])
                   : error_set_errno(err, result, "cannot keep track of %s", spec->arguments[0]);
    }
    *ret_identity = (struct process_identity){.pid = pid, .start_time = start_time};
    return 0;
}

int process_identify(pid_t pid, struct process_identity *ret_identity)
{
    uint64_t start_time;
    int result = read_start_time(pid, &start_time);
    if (result == 0) {
        *ret_identity = (struct process_identity){.pid = pid, .start_time = start_time};
    }
    return result;
}

void process_self(struct process_identity *ret_identity)
{
    *ret_identity = (struct process_identity){.pid = getpid()};
    read_start_time(ret_identity->pid, &ret_identity->start_time);
}

/* 0 while the pid is still that process's, dead or alive: a zombie keeps its start time. -ESRCH
 * when it is another's or nobody's; another -errno when that cannot be told. */
static int check_pid(const struct process_identity *identity)
{
    uint64_t start_time;
    int result = identity->pid > 0 ? read_start_time(identity->pid, &start_time) : -ESRCH;
    return result == 0 && start_time != identity->start_time ? -ESRCH : result;
}

bool process_is_alive(const struct process_identity *identity)
{
    CLEANUP_CLOSE int pidfd = process_open(identity, NULL);
    return pidfd >= 0 || (pidfd != -ESRCH && check_pid(identity) != -ESRCH);
}

/* The pid is compared after opening: no reuse in between. A pidfd becomes readable when the last
 * thread has ended, while /proc calls a process a zombie as soon as its first thread has. */
int process_open(const struct process_identity *identity, struct error *err)
{
    CLEANUP_CLOSE int pidfd =
        identity->pid > 0 ? (int)syscall(SYS_pidfd_open, identity->pid, 0) : -1;
    if (pidfd < 0 && identity->pid > 0 && errno != ESRCH) {
        return error_set_errno(err, errno, "cannot watch process %d", (int)identity->pid);
    }
    int unchanged = pidfd < 0 ? -ESRCH : check_pid(identity);
    if (unchanged < 0 && unchanged != -ESRCH) {
        return error_set_errno(err, unchanged, "cannot watch process %d", (int)identity->pid);
    }
    if (unchanged < 0 || socket_wait_readable(pidfd, 0) == 1) {
        return error_set(err, ESRCH, "process %d is gone", (int)identity->pid);
    }
    return steal_fd(&pidfd);
}

int process_signal(const struct process_identity *identity, int signal, struct error *err)
{
    CLEANUP_CLOSE int pidfd = process_open(identity, err);
    if (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0) {
        return error_set_errno(err, errno, "cannot signal process %d", (int)identity->pid);
    }
    return pidfd < 0 ? pidfd : 0;
}

int process_kill(const struct process_identity *identity, struct error *err)
{
    int signalled = process_signal(identity, SIGKILL, NULL);
    if (signalled < 0 && signalled != -ESRCH) {
        return error_set_errno(err, signalled, "cannot end process %d", (int)identity->pid);
    }
    int ended = process_wait(identity, KILL_TIMEOUT_NS, NULL);
    if (ended < 0) {
        return error_set_errno(err, ended, "cannot wait for process %d", (int)identity->pid);
    }
    if (ended == 0) {
        return error_set(err, ETIMEDOUT, "process %d does not end", (int)identity->pid);
    }
    return 0;
}

/* Our child's wait status, -1 when the dead process is not (or no longer) our child. Another child
 * under a reused pid is never reaped in its place. */
static int reap(const struct process_identity *identity)
{
    int status;
    if (check_pid(identity) < 0 || waitpid(identity->pid, &status, WNOHANG) != identity->pid) {
        return -1;
    }
    return status;
}

int process_wait(const struct process_identity *identity, uint64_t timeout_ns, int *ret_status)
{
    CLEANUP_CLOSE int pidfd = process_open(identity, NULL);
    if (pidfd < 0 && pidfd != -ESRCH) {
        return pidfd;
    }
    int ended = pidfd < 0 ? 1 : socket_wait_readable(pidfd, timeout_ns);
    if (ended != 1) {
        return ended;
    }
    int status = reap(identity);
    if (ret_status) {
        *ret_status = status;
    }
    return 1;
}
