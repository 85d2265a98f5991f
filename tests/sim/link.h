/* The simulated channel: two pipes with a rate, a delay and a window; it can be cut, or fall
 * silent. */
#pragma once

#include "engine/channel.h"
#include "world.h"

struct sim_segment {
    uint64_t arrives_ns;
    size_t length; /* what is left of it */
};

#define SIM_SEGMENTS 256

struct sim_pipe {
    uint8_t *bytes; /* a ring of `window` bytes */
    size_t window, start, length;
    struct sim_segment segments[SIM_SEGMENTS]; /* a ring */
    size_t segment_start, segment_count;
    uint64_t free_ns; /* the link has put everything on its way by then */
    uint64_t carried; /* bytes, ever */
    bool closed;      /* by the sender's end */
};

struct sim_link {
    struct sim_world *world;
    int tasks[SIM_SIDES];             /* which task is at which end */
    struct sim_pipe pipes[SIM_SIDES]; /* from this side */
    uint64_t rate;
    uint64_t delay_ns;
    uint64_t patience_ns; /* a blocked call gives up after it */
    uint64_t cut_ns;      /* from then on every call fails; SIM_NEVER */
    uint64_t silent_ns;   /* from then on nothing arrives any more; SIM_NEVER */
    uint64_t cut_bytes;   /* cut when the source has sent so many; SIM_NEVER */
    uint64_t spoil_byte;  /* that byte from the source is changed; SIM_NEVER */
    uint64_t full_bytes;  /* the destination's memory is full after so many; SIM_NEVER */
    bool (*cancelled)(void *observer, enum sim_side side);
    void *observer;
    const uint8_t *file; /* what send_file() reads */
};

/* One side's view of the link. */
struct sim_end {
    struct sim_link *link;
    enum sim_side side;
};

void sim_link_init(struct sim_link *link, struct sim_world *world, size_t window);
void sim_link_done(struct sim_link *link);
void sim_link_close(struct sim_link *link, enum sim_side side);
struct engine_channel sim_link_channel(struct sim_end *end);
