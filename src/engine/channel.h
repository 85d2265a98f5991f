/*
 * The way to the other side: an ordered, reliable stream of bytes, seen through a vtable so that
 * the simulator can lose, delay and cut it. Blocking; a call that is told to stop (cancelled, time
 * limit) returns -ECANCELED or -ETIMEDOUT; one that need not wait does its work even then, so that
 * a last word can be sent. After any failure the channel is dead, but for this: when sending
 * failed, what had arrived before may still be received (the other side's reason to give up).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

struct engine_channel_operations {
    /* Sends all bytes of `count` pieces. With `more`, more follows at once and may be held back for
     * it. */
    int (*send)(void *channel, const struct iovec *pieces, int count, bool more, struct error *err);

    /* Sends `length` bytes of a file without copying them through this process. NULL: the channel
     * looks at every byte anyway (it encrypts), and send() from a mapping is no slower. */
    int (*send_file)(void *channel, int fd, uint64_t offset, uint64_t length, bool more,
                     struct error *err);

    /* Receives exactly all bytes of `count` pieces. -ECONNRESET when the stream ends before,
     * -EFAULT when a piece lies in guest memory for which the host has no page left. */
    int (*receive)(void *channel, const struct iovec *pieces, int count, struct error *err);

    /* Waits until something can be received: 1, or 0 after timeout_ns. */
    int (*wait_readable)(void *channel, uint64_t timeout_ns, struct error *err);

    /* Bytes accepted by send() that the other side has not taken yet, as far as known. */
    uint64_t (*queued)(void *channel);
};

struct engine_channel {
    const struct engine_channel_operations *operations;
    void *channel;
};
