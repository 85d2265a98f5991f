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
#include "base/socket.h"
#include "lab/init_mounts.h"
#include "lab/mount_points.h"
#include "lab/service.h"
#include "net/link.h"

#define REQUEST_TIMEOUT_NS NANOSECONDS_PER_SECOND

struct init {
    const char *node;
    const char *control; /* path of the socket */
    const char *folder;  /* the lab's */
    int signals;
    int listener;
    struct service agent;
    struct service guard;
};

/* ---- requests ---- */

static int act(struct service *service, const char *word, struct error *err)
{
    if (strcmp(word, INIT_AGENT_START) == 0) {
        return service_start(service, err);
    }
    if (strcmp(word, INIT_AGENT_STOP) == 0) {
        return service_stop(service, err);
    }
    if (strcmp(word, INIT_AGENT_KILL) == 0) {
        return service_kill(service, err);
    }
    if (strcmp(word, INIT_AGENT_STATUS) == 0) {
        return 0;
    }
    return error_set(err, EINVAL, "unknown request");
}

/* Returns the answer. */
static json_t *carry_out(struct init *init, const char *word)
{
    struct error err = ERROR_NONE;
    size_t prefix = strlen(INIT_GUARD_PREFIX);
    bool guard = strncmp(word, INIT_GUARD_PREFIX, prefix) == 0;
    struct service *service = guard ? &init->guard : &init->agent;
    return act(service, guard ? word + prefix : word, &err) < 0 ? json_from_error(&err)
                                                                : service_state(service);
}

static void serve_request(struct init *init)
{
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
    CLEANUP_JSON json_t *answer = carry_out(init, word);
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
        service_note_end(&init->agent, pid, status);
        service_note_end(&init->guard, pid, status);
    }
}

static void __attribute__((noreturn)) serve(struct init *init)
{
    for (;;) {
        struct pollfd waiting[] = {{.fd = init->signals, .events = POLLIN},
                                   {.fd = init->listener, .events = POLLIN}};
        if (poll(waiting, 2, service_look_after(&init->guard)) < 0) {
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

static void plan_services(struct init *init, const char *agent_program, const char *guard_program)
{
    init->agent = (struct service){
        .name = "agent",
        .node = init->node,
        .arguments = {agent_program, "--config", MOUNT_POINT_CONFIGURATION "/droverd.json"},
        .status = -1};
    init->guard = (struct service){.name = "guard",
                                   .node = init->node,
                                   .arguments = {guard_program, "--run-folder", MOUNT_POINT_RUN},
                                   .restarts = true,
                                   .status = -1};
    snprintf(init->agent.log_path, sizeof(init->agent.log_path), "%s/%s/droverd.log", init->folder,
             init->node);
    snprintf(init->guard.log_path, sizeof(init->guard.log_path), "%s/%s/drover-guard.log",
             init->folder, init->node);
}

int init_run(int argc, char **argv)
{
    struct error err = ERROR_NONE;
    if (argc != 6 || getpid() != 1) {
        fprintf(stderr, "drover: \"lab init\" is for the lab itself\n");
        return 2;
    }
    struct init init = {.node = argv[1], .control = argv[2], .folder = argv[3]};
    plan_services(&init, argv[4], argv[5]);
    const char *word = prepare(&init, &err) < 0 ? err.message : INIT_READY;
    send(INIT_LINE_FD, word, strlen(word), MSG_NOSIGNAL);
    if (err.code || !wait_for_release()) {
        return 1;
    }
    close(INIT_LINE_FD);
    init_mounts_release_streams();
    serve(&init);
}
