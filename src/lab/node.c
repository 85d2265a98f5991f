/* Nodes from outside: see node.h. */
#include "lab/node.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/socket.h"
#include "lab/init.h"

#define READY_TIMEOUT_NS (20 * NANOSECONDS_PER_SECOND)
#define NODE_NAMESPACES (CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS)

void node_control_path(const struct lab *lab, const struct lab_node *node,
                       char ret_path[LAB_PATH_SIZE])
{
    snprintf(ret_path, LAB_PATH_SIZE, LAB_CONTROL_ROOT "/%s/%s.sock", lab->name, node->name);
}

/* In the child: this program again, as the node's init. The line is descriptor INIT_LINE_FD. */
static void __attribute__((noreturn))
become_init(const struct lab *lab, const struct lab_node *node, int line,
            const struct lab_programs *programs)
{
    char control[LAB_PATH_SIZE];
    sigset_t none;
    node_control_path(lab, node, control);
    const char *const arguments[] = {"drover",
                                     "lab",
                                     "init",
                                     node->name,
                                     control,
                                     lab->folder,
                                     programs ? programs->agent : "",
                                     programs ? programs->guard : "",
                                     NULL};
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (line == INIT_LINE_FD ? fcntl(line, F_SETFD, 0) == 0 : dup2(line, INIT_LINE_FD) >= 0) {
        execv("/proc/self/exe", (char *const *)arguments);
    }
    _exit(127);
}

static pid_t clone_node(struct error *err)
{
    pid_t pid = (pid_t)syscall(SYS_clone, NODE_NAMESPACES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0) {
        int code = errno;
        error_set_errno(err, code, "cannot make namespaces");
        error_remedy(err,
                     "run as root on a kernel with network, mount, process and UTS "
                     "namespaces%s",
                     code == ENOSPC ? "; their number is limited by /proc/sys/user/max_*" : "");
    }
    return pid;
}

/* Reads the init's first word: "ready", or what went wrong. */
static int wait_until_ready(const struct lab_node *node, int line, struct error *err)
{
    char text[1024];
    if (socket_wait_readable(line, READY_TIMEOUT_NS) <= 0) {
        return error_set(err, ETIMEDOUT, "node %s did not start in time", node->name);
    }
    ssize_t length = read(line, text, sizeof(text) - 1);
    text[length > 0 ? length : 0] = '\0';
    if (strcmp(text, INIT_READY) == 0) {
        return 0;
    }
    return error_set(err, EIO, "node %s: %s", node->name,
                     text[0] ? text : "its init ended before it was ready");
}

int node_start(const struct lab *lab, struct lab_node *node, const struct lab_programs *programs,
               struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return error_set_errno(err, errno, "cannot start node %s", node->name);
    }
    CLEANUP_CLOSE int ours = pair[0];
    CLEANUP_CLOSE int theirs = pair[1];
    pid_t pid = clone_node(err);
    if (pid < 0) {
        return -err->code;
    }
    if (pid == 0) {
        become_init(lab, node, theirs, programs);
    }
    close_fd(&theirs);
    int result = process_identify(pid, &node->init);
    if (result == 0) {
        result = wait_until_ready(node, ours, err);
    }
    if (result < 0) {
        kill(pid, SIGKILL); /* our child, not yet waited for: no other can have its number */
        waitpid(pid, NULL, 0);
        node->init = (struct process_identity){0};
        return result;
    }
    return steal_fd(&ours);
}

int node_release(const struct lab_node *node, int line, struct error *err)
{
    ssize_t sent = send(line, INIT_RELEASE, strlen(INIT_RELEASE), MSG_NOSIGNAL);
    int code = errno;
    close(line);
    return sent < 0 ? error_set_errno(err, code, "node %s is gone", node->name) : 0;
}

int node_kill(struct lab_node *node, struct error *err)
{
    if (node->init.pid <= 0) {
        return 0;
    }
    int result = process_kill(&node->init, err);
    if (result < 0) {
        return error_wrap(err, "node %s", node->name);
    }
    node->init = (struct process_identity){0};
    return 0;
}

int node_enter(const struct lab_node *node, int namespaces, struct error *err)
{
    if (node->init.pid <= 0) {
        error_set(err, ESRCH, "%s is switched off", node->name);
        return error_remedy(err, "\"drover lab power-on %s\" starts it", node->name);
    }
    CLEANUP_CLOSE int fd = process_open(&node->init, err);
    if (fd < 0) {
        error_set(err, ESRCH, "%s is gone: its init was killed", node->name);
        return error_remedy(err, "\"drover lab power-on %s\" starts it again", node->name);
    }
    if (setns(fd, namespaces) < 0) {
        return error_set_errno(err, errno, "cannot enter %s", node->name);
    }
    return 0;
}

int node_visit_network(const struct lab_node *node, int *ret_home, struct error *err)
{
    CLEANUP_CLOSE int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0) {
        return error_set_errno(err, errno, "cannot open this network namespace");
    }
    int result = node_enter(node, CLONE_NEWNET, err);
    if (result == 0) {
        *ret_home = steal_fd(&home);
    }
    return result;
}

/* A process that cannot get back would do the rest of its work in the wrong place. */
void node_leave_network(const int *home)
{
    if (*home >= 0) {
        if (setns(*home, CLONE_NEWNET) < 0) {
            perror("drover: cannot leave a node's network namespace");
            _exit(1);
        }
        close(*home);
    }
}

int node_open_network(const struct lab_node *node, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)node->init.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !process_is_alive(&node->init)) {
        cleanup_close_fd(&fd);
        return error_set(err, ESRCH, "node %s is gone", node->name);
    }
    return fd;
}
