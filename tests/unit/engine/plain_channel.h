/* A channel over one plain socket: blocking, no time limits, for tests of the engine. */
#pragma once

#include "engine/channel.h"

struct plain_channel {
    int fd; /* borrowed */
};

struct engine_channel plain_channel_of(struct plain_channel *channel);
