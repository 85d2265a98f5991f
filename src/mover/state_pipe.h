/*
 * The pipe through which device state leaves or enters QEMU. As large as an unprivileged pipe may
 * be: all that is saved while the guest is stopped fits, so QEMU never waits for us in between.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct state_pipe {
    int reader; /* owned; -1 when closed */
    int writer; /* likewise */
};

#define STATE_PIPE_CLOSED ((struct state_pipe){.reader = -1, .writer = -1})

int state_pipe_open(struct state_pipe *pipe, struct error *err);
void state_pipe_close(struct state_pipe *pipe);

/* Reads what is there, without waiting: bytes, 0 at the end, -EAGAIN when there is nothing yet. */
ssize_t state_pipe_read(struct state_pipe *pipe, void *bytes, size_t size, struct error *err);

/* Writes all; -ETIMEDOUT when QEMU takes nothing for long, -EPIPE when it is gone. */
int state_pipe_write(struct state_pipe *pipe, const void *bytes, size_t length, struct error *err);
