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

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define REQUEST_TIMEOUT_NS NANOSECONDS_PER_SECOND

enum { AGENT, GUARD, SANLOCK, SERVICES };

struct init {
    const char *node;
    const char *control; /* path of the socket */
    const char *folder;  /* the lab's */
    int signals;
    int listener;
    struct service services[SERVICES];
};

/* ---- requests ---- */

static int act(struct service *service, const char *action, struct error *err)
{
    if (strcmp(action, INIT_START) == 0) {
        return service_start(service, err);
    }
    if (strcmp(action, INIT_STOP) == 0) {
        return service_stop(service, err);
    }
    if (strcmp(action, INIT_KILL) == 0) {
        return service_kill(service, err);
    }
    if (strcmp(action, INIT_STATUS) == 0) {
        return 0;
    }
    return error_set(err, EINVAL, "unknown request");
}

/* Returns the answer. */
static json_t *carry_out(struct init *init, char *request)
{
    struct error err = ERROR_NONE;
    char *action = request;
    const char *name = strsep(&action, " ");
    for (size_t i = 0; action && i < SERVICES; i++) {
        struct service *service = &init->services[i];
        if (strcmp(name, service->name) == 0) {
            return act(service, action, &err) < 0 ? json_from_error(&err) : service_state(service);
        }
    }
    error_set(&err, EINVAL, "unknown request");
    return json_from_error(&err);
}

static void serve_request(struct init *init)
{
    char request[32];
    CLEANUP_CLOSE int fd = accept4(init->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || socket_wait_readable(fd, REQUEST_TIMEOUT_NS) <= 0) {
        return;
    }
    ssize_t length = read(fd, request, sizeof(request) - 1);
    if (length <= 0) {
        return;
    }
    request[length] = '\0';
    CLEANUP_JSON json_t *answer = carry_out(init, request);
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
        for (size_t i = 0; i < SERVICES; i++) {
            service_note_end(&init->services[i], pid, status);
        }
    }
}

static void __attribute__((noreturn)) serve(struct init *init)
{
    for (;;) {
        struct pollfd waiting[] = {{.fd = init->signals, .events = POLLIN},
                                   {.fd = init->listener, .events = POLLIN}};
        if (poll(waiting, 2, service_look_after(&init->services[GUARD])) < 0) {
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

/* Of sanlock's daemon, and of who asks it: one a host, though they all are one machine. */
static const char *const environment[] = {"PATH=" DEFAULT_PATH,
                                          "SANLOCK_RUN_DIR=" MOUNT_POINT_RUN "/sanlock",
                                          "SANLOCK_PRIVILEGED=0", NULL};

static void plan_services(struct init *init, const char *agent_program, const char *guard_program)
{
    init->services[AGENT] = (struct service){
        .name = INIT_AGENT,
        .log = "droverd.log",
        .arguments = {agent_program, "--config", MOUNT_POINT_CONFIGURATION "/droverd.json"}};
    init->services[GUARD] =
        (struct service){.name = INIT_GUARD,
                         .log = "drover-guard.log",
                         .arguments = {guard_program, "--run-folder", MOUNT_POINT_RUN},
                         .restarts = true};
    /* Without watchdog, priority and locked memory, which the lab's hosts would share. */
    init->services[SANLOCK] = (struct service){
        .name = INIT_SANLOCK,
        .log = "sanlock.log",
        .folder = MOUNT_POINT_RUN "/sanlock",
        .arguments = {"sanlock", "daemon", "-D", "-w", "0", "-h", "0", "-l", "0", "-U", "root",
                      "-G", "root", "-L", "-1", "-S", "-1", "-e", init->node}};
    for (size_t i = 0; i < SERVICES; i++) {
        struct service *service = &init->services[i];
        service->node = init->node;
        service->environment = environment;
        service->status = -1;
        snprintf(service->log_path, sizeof(service->log_path), "%s/%s/%s", init->folder, init->node,
                 service->log);
    }
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
