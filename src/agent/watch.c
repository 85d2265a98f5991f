/* Watching processes: see watch.h. */
#include "agent/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

struct watch {
    int epoll;
    watch_function *ended;
    void *context;
};

struct watched {
    int fd; /* the pidfd; of a process that was gone already an eventfd, readable at once */
    struct process_identity process;
    char uuid[UUID_TEXT_SIZE];
};

static void report(struct watch *watch, struct watched *watched)
{
    epoll_ctl(watch->epoll, EPOLL_CTL_DEL, watched->fd, NULL);
    close(watched->fd);
    process_wait(&watched->process, 0, NULL);
    watch->ended(watch->context, watched->uuid);
    free(watched);
}

static void *watch_thread(void *argument)
{
    struct watch *watch = argument;
    for (;;) {
        struct epoll_event event;
        int count = epoll_wait(watch->epoll, &event, 1, -1);
        if (count == 1) {
            report(watch, event.data.ptr);
        } else if (count < 0 && errno != EINTR) {
            log_error("watching the VMs' processes failed: %s", strerror(errno));
            return NULL;
        }
    }
}

int watch_start(watch_function *ended, void *context, struct watch **ret_watch, struct error *err)
{
    pthread_t thread;
    CLEANUP_FREE struct watch *watch = calloc(1, sizeof(*watch));
    CLEANUP_CLOSE int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!watch || epoll < 0) {
        return error_set_errno(err, watch ? errno : ENOMEM, "cannot watch processes");
    }
    *watch = (struct watch){.epoll = epoll, .ended = ended, .context = context};
    int result = pthread_create(&thread, NULL, watch_thread, watch);
    if (result != 0) {
        return error_set_errno(err, result, "cannot watch processes");
    }
    pthread_detach(thread);
    steal_fd(&epoll);
    *ret_watch = steal_pointer(&watch);
    return 0;
}

int watch_add(struct watch *watch, const char *uuid, const struct process_identity *process,
              struct error *err)
{
    CLEANUP_FREE struct watched *watched = calloc(1, sizeof(*watched));
    CLEANUP_CLOSE int fd = process_open(process, NULL);
    if (fd < 0) {
        fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (!watched || fd < 0) {
        return error_set_errno(err, watched ? errno : ENOMEM, "cannot watch process %d",
                               (int)process->pid);
    }
    watched->fd = fd;
    watched->process = *process;
    snprintf(watched->uuid, sizeof(watched->uuid), "%s", uuid);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watched};
    if (epoll_ctl(watch->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        return error_set_errno(err, errno, "cannot watch process %d", (int)process->pid);
    }
    steal_fd(&fd);
    steal_pointer(&watched);
    return 0;
}
