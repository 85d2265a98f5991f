/* Bytes through a channel of a mover, as the tests of its channels send and receive them. */
#pragma once

#include "mover/socket_channel.h"

static inline int send_bytes(struct socket_channel *socket, const void *bytes, size_t length,
                             bool more, struct error *err)
{
    struct iovec piece = {(void *)bytes, length};
    return socket->channel.operations->send(socket, &piece, 1, more, err);
}

static inline int receive_bytes(struct socket_channel *socket, void *bytes, size_t length,
                                struct error *err)
{
    struct iovec piece = {bytes, length};
    return socket->channel.operations->receive(socket, &piece, 1, err);
}
