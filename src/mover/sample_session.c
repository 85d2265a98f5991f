/* The mover that samples, from setup to answer: see sample.h. */
#include <errno.h>
#include <poll.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "mover/line.h"
#include "mover/sample.h"

/* The agent says nothing but that it has heard enough, by the end of what it sends. */
static int wait_until(void *context, uint64_t moment_ns, struct error *err)
{
    struct pollfd poller = {.fd = *(const int *)context, .events = POLLIN};
    uint64_t now_ns = clock_monotonic_ns();
    struct timespec rest = {0};
    if (moment_ns > now_ns) {
        rest.tv_sec = (time_t)((moment_ns - now_ns) / NANOSECONDS_PER_SECOND);
        rest.tv_nsec = (long)((moment_ns - now_ns) % NANOSECONDS_PER_SECOND);
    }
    int ready = ppoll(&poller, 1, &rest, NULL);
    if (ready < 0 && errno != EINTR) {
        return error_set_errno(err, errno, "cannot wait");
    }
    if (ready > 0 && (poller.revents & (POLLHUP | POLLERR))) {
        return error_set(err, ECANCELED, "nobody waits for the sample");
    }
    return ready > 0 ? 0 : 1;
}

static int take(const struct mover_setup *setup, int connection, struct engine_sample *ret_sample,
                struct error *err)
{
    struct engine_tracker tracker;
    struct sample_wait wait = {.until = wait_until, .context = &connection};
    int result =
        engine_tracker_init(&tracker, setup->userfaultfd, setup->pagemap_fd, setup->memory_fd,
                            setup->memory_address, setup->memory_size, err);
    if (result < 0) {
        return result;
    }
    engine_tracker_set_watch(&tracker, setup->watch_fd);
    result = sample_take(&tracker, setup->sample_ns, &wait, ret_sample, err);
    engine_tracker_done(&tracker);
    return result;
}

int sample_session_run(const struct mover_setup *setup, int connection, struct error *err)
{
    struct engine_sample sample;
    int result = take(setup, connection, &sample, err);
    CLEANUP_JSON json_t *event = result < 0 ? json_from_error(err) : sample_encode(&sample);
    if (result < 0) {
        json_object_set_new(event, "event", json_string("failed"));
    }
    int sent = line_send(connection, event, result < 0 ? NULL : err);
    return result < 0 ? result : sent;
}
