/*
 * The simulated further connections: a link each. The source sends a batch over whichever lane
 * chance picks; at the destination each is received by a task of its own. So the parts of a round
 * arrive in any order.
 */
#pragma once

#include "engine/arrivals.h"
#include "engine/lanes.h"
#include "link.h"

struct sim_lane {
    struct sim_lanes *lanes;
    struct sim_link link;
    struct sim_end ends[SIM_SIDES];
    struct engine_channel channels[SIM_SIDES];
    struct stream streams[SIM_SIDES];
    struct lane_sender sender;
    struct lane_receiver receiver;
    bool opened, admitted, in_round;
    uint32_t ended, settled;
};

struct sim_lanes {
    struct sim_world *world;
    const struct engine_destination_guest *guest;
    const struct page_set *received;
    struct sim_lane lane[SIM_LANES];
    bool closing;
    struct error failure;
    struct engine_lanes source;
    struct engine_arrivals destination;
};

/* Links with the given window; the caller sets their rates and what strikes them. */
void sim_lanes_init(struct sim_lanes *lanes, struct sim_world *world, size_t window);
void sim_lanes_done(struct sim_lanes *lanes);

/* A side's engine has ended: hangs up, and at the destination waits for the lanes' tasks. */
void sim_lanes_close_source(struct sim_lanes *lanes);
void sim_lanes_close_destination(struct sim_lanes *lanes);
