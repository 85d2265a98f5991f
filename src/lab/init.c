/* A node's init: see init.h. */
#include "lab/init.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/process.h"
#include "base/socket.h"
#include "lab/init_mounts.h"
#include "lab/mount_points.h"
#include "net/link.h"

#define REQUEST_TIMEOUT_NS NANOSECONDS_PER_SECOND

struct init {
    const char *node;
    const char *control; /* path of the socket */
    const char *folder;  /* the lab's */
    const char *agent_program;
    int signals;
    int listener;
    struct process_identity agent; /* pid 0: none runs */
    int agent_status;              /* wait status of the last one; -1: there was none */
};

/* ---- the agent ---- */

static int start_agent(struct init *init, struct error *err)
{
    char log[512];
    if (init->agent.pid > 0) {
        return error_set(err, EBUSY, "the agent of %s runs already", init->node);
    }
    if (!init->agent_program[0]) {
        error_set(err, EINVAL, "the lab has no agents");
        return error_remedy(err, "it was made with --no-agents: take it down and up again");
    }
    snprintf(log, sizeof(log), "%s/%s/droverd.log", init->folder, init->node);
    const char *const arguments[] = {init->agent_program, "--config",
                                     MOUNT_POINT_CONFIGURATION "/droverd.json", NULL};
    const struct process_spec spec = {.arguments = arguments, .log_path = log};
    return process_start(&spec, &init->agent, err);
}

static int signal_agent(struct init *init, int signal, struct error *err)
{
    if (init->agent.pid <= 0) {
        return error_set(err, ESRCH, "the agent of %s does not run", init->node);
    }
    kill(init->agent.pid, signal); /* our child: its number is taken until we reap it */
    return 0;
}

static void describe_end(int status, char *text, size_t size)
{
    if (status == -1) {
        snprintf(text, size, "never started");
    } else if (WIFSIGNALED(status)) {
        snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
    }
}

static json_t *agent_state(const struct init *init)
{
    char ended[96];
    if (init->agent.pid > 0) {
        return json_pack("{s:s,s:i}", "state", "running", "pid", (int)init->agent.pid);
    }
    describe_end(init->agent_status, ended, sizeof(ended));
    return json_pack("{s:s,s:s}", "state", "stopped", "ended", ended);
}

/* ---- requests ---- */

static int carry_out(struct init *init, const char *word, struct error *err)
{
    if (strcmp(word, INIT_AGENT_START) == 0) {
        return start_agent(init, err);
    }
    if (strcmp(word, INIT_AGENT_STOP) == 0) {
        return signal_agent(init, SIGTERM, err);
    }
    if (strcmp(word, INIT_AGENT_KILL) == 0) {
        return signal_agent(init, SIGKILL, err);
    }
    if (strcmp(word, INIT_AGENT_STATUS) == 0) {
        return 0;
    }
    return error_set(err, EINVAL, "unknown request");
}

static void serve_request(struct init *init)
{
    struct error err = ERROR_NONE;
    char word[16];
    CLEANUP_CLOSE int fd = accept4(init->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || socket_wait_readable(fd, REQUEST_TIMEOUT_NS) <= 0) {
        return;
    }
    ssize_t length = read(fd, word, sizeof(word) - 1);
    if (length <= 0) {
        return;
    }
    word[length] = '\0';
    CLEANUP_JSON json_t *answer =
        carry_out(init, word, &err) < 0 ? json_from_error(&err) : agent_state(init);
    CLEANUP_FREE char *text = json_dumps(answer, JSON_COMPACT);
    if (text) {
        send(fd, text, strlen(text), MSG_NOSIGNAL);
    }
}

static void reap(struct init *init)
{
    struct signalfd_siginfo ignored;
    int status;
    pid_t pid;
    (void)!read(init->signals, &ignored, sizeof(ignored));
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == init->agent.pid) {
            init->agent = (struct process_identity){0};
            init->agent_status = status;
        }
    }
}

static void __attribute__((noreturn)) serve(struct init *init)
{
    for (;;) {
        struct pollfd waiting[] = {{.fd = init->signals, .events = POLLIN},
                                   {.fd = init->listener, .events = POLLIN}};
        if (poll(waiting, 2, -1) < 0) {
            continue;
        }
        if (waiting[0].revents) {
            reap(init);
        }
        if (waiting[1].revents) {
            serve_request(init);
        }
    }
}

/* ---- becoming one ---- */

static int watch_children(struct init *init, struct error *err)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    init->signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    return init->signals < 0 ? error_set_errno(err, errno, "cannot watch children") : 0;
}

static int prepare(struct init *init, struct error *err)
{
    if (sethostname(init->node, strlen(init->node)) < 0) {
        return error_set_errno(err, errno, "cannot set the host name");
    }
    init->listener = socket_listen_unix(init->control, 0600, err);
    int result = init->listener < 0 ? init->listener : watch_children(init, err);
    if (result == 0) {
        result = init_mounts_make(init->folder, init->node, err);
    }
    return result < 0 ? result : link_set_up("lo", true, err);
}

/* Blocks until the lab stands; false when whoever builds it is gone. */
static bool wait_for_release(void)
{
    char word[16] = "";
    ssize_t length = read(INIT_LINE_FD, word, sizeof(word) - 1);
    return length > 0 && strcmp(word, INIT_RELEASE) == 0;
}

int init_run(int argc, char **argv)
{
    struct error err = ERROR_NONE;
    if (argc != 5 || getpid() != 1) {
        fprintf(stderr, "drover: \"lab init\" is for the lab itself\n");
        return 2;
    }
    struct init init = {.node = argv[1],
                        .control = argv[2],
                        .folder = argv[3],
                        .agent_program = argv[4],
                        .agent_status = -1};
    const char *word = prepare(&init, &err) < 0 ? err.message : INIT_READY;
    send(INIT_LINE_FD, word, strlen(word), MSG_NOSIGNAL);
    if (err.code || !wait_for_release()) {
        return 1;
    }
    close(INIT_LINE_FD);
    init_mounts_release_streams();
    serve(&init);
}
