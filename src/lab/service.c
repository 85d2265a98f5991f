/* Programs that a node's init keeps: see service.h. */
#include "lab/service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"

#define SHORT_LIFE_NS (500 * NANOSECONDS_PER_MILLISECOND)

int service_start(struct service *service, struct error *err)
{
    if (service->process.pid > 0) {
        return error_set(err, EBUSY, "the %s of %s runs already", service->name, service->node);
    }
    if (!service->arguments[0][0]) {
        error_set(err, EINVAL, "the lab has no %ss", service->name);
        return error_remedy(err, "it was made with --no-agents: take it down and up again");
    }
    if (service->folder && mkdir(service->folder, 0700) < 0 && errno != EEXIST) {
        return error_set_errno(err, errno, "cannot make %s in %s", service->folder, service->node);
    }
    const struct process_spec spec = {.arguments = service->arguments,
                                      .environment = service->environment,
                                      .log_path = service->log_path};
    service->wanted = true;
    service->started_ns = clock_monotonic_ns();
    return process_start(&spec, &service->process, err);
}

/* Our child: its number is taken until we reap it. */
static int signal_service(struct service *service, int number, struct error *err)
{
    if (service->process.pid <= 0) {
        return error_set(err, ESRCH, "the %s of %s does not run", service->name, service->node);
    }
    kill(service->process.pid, number);
    return 0;
}

int service_stop(struct service *service, struct error *err)
{
    service->wanted = false;
    return signal_service(service, SIGTERM, err);
}

int service_kill(struct service *service, struct error *err)
{
    return signal_service(service, SIGKILL, err);
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

json_t *service_state(const struct service *service)
{
    char ended[96];
    if (service->process.pid > 0) {
        return json_pack("{s:s,s:i}", "state", "running", "pid", (int)service->process.pid);
    }
    describe_end(service->status, ended, sizeof(ended));
    return json_pack("{s:s,s:s}", "state", "stopped", "ended", ended);
}

void service_note_end(struct service *service, pid_t pid, int status)
{
    if (pid == service->process.pid) {
        service->process = (struct process_identity){0};
        service->status = status;
    }
}

int service_look_after(struct service *service)
{
    if (!service->restarts || !service->wanted || service->process.pid > 0) {
        return -1;
    }
    uint64_t age = clock_monotonic_ns() - service->started_ns;
    if (age < SHORT_LIFE_NS) {
        return (int)((SHORT_LIFE_NS - age) / NANOSECONDS_PER_MILLISECOND) + 1;
    }
    service_start(service, NULL); /* one that does not start is tried again as well */
    return service->process.pid > 0 ? -1 : (int)(SHORT_LIFE_NS / NANOSECONDS_PER_MILLISECOND);
}
