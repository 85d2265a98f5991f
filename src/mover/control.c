/* The agent's end of a mover's control socket: see control.h. */
#include "mover/control.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/socket.h"
#include "mover/line.h"

int mover_control_connect(struct mover_control *control, const char *path, struct error *err)
{
    int fd = socket_connect_unix(path, err);
    *control = (struct mover_control){.fd = fd < 0 ? -1 : fd};
    return fd < 0 ? fd : 0;
}

void mover_control_done(struct mover_control *control)
{
    close_fd(&control->fd);
    buffer_done(&control->input);
}

int mover_control_next(struct mover_control *control, uint64_t timeout_ns, json_t **ret_event,
                       struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    for (;;) {
        int result = line_take(&control->input, ret_event, err);
        if (result != 0) {
            return result;
        }
        uint64_t now = clock_monotonic_ns();
        result = socket_wait_readable(control->fd, deadline > now ? deadline - now : 0);
        if (result == 0) {
            return 0;
        }
        result = result < 0 ? error_set_errno(err, result, "cannot listen to the mover")
                            : line_receive(control->fd, &control->input, err);
        if (result < 0) {
            return error_wrap(err, "mover");
        }
    }
}

uint64_t mover_control_asked_at(const json_t *question)
{
    json_int_t asked_at_ns = json_integer_value(json_object_get(question, "asked_at_ns"));
    uint64_t now = clock_boottime_ns();
    return asked_at_ns > 0 && (uint64_t)asked_at_ns < now ? (uint64_t)asked_at_ns : now;
}

/* Steals `command`. */
static int send_command(struct mover_control *control, json_t *command, struct error *err)
{
    CLEANUP_JSON json_t *owned = command;
    return line_send(control->fd, owned, err) < 0 ? error_wrap(err, "mover") : 0;
}

int mover_control_cancel(struct mover_control *control, struct error *err)
{
    return send_command(control, json_pack("{s:s}", "command", "cancel"), err);
}

int mover_control_answer(struct mover_control *control, const char *owner, struct error *err)
{
    return send_command(control, json_pack("{s:s, s:s}", "command", "answer", "owner", owner), err);
}

int mover_control_end(struct mover_control *control, struct error *err)
{
    return send_command(control, json_pack("{s:s}", "command", "end"), err);
}
