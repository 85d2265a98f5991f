/* The simulated further connections: see lanes.h. */
#include "lanes.h"

#include "base/clock.h"

#define SLICE_NS (10 * NANOSECONDS_PER_MILLISECOND)

/* ---- the source ---- */

static int open_lanes(void *argument, unsigned most, const struct lane_terms *terms,
                      struct error *err)
{
    struct sim_lanes *lanes = argument;
    for (unsigned i = 0; i < SIM_LANES && i < most; i++) {
        struct sim_lane *lane = &lanes->lane[i];
        int result = lane_sender_init(&lane->sender, &lane->streams[SIM_SOURCE], terms, false, err);
        if (result < 0) {
            return result;
        }
        lane->opened = true;
    }
    return 1;
}

static int submit(void *argument, const struct page_batch *batch, uint64_t timeout_ns,
                  struct error *err)
{
    struct sim_lanes *lanes = argument;
    unsigned pick = (unsigned)random_between(&lanes->world->random, 0, SIM_LANES - 1);
    struct sim_lane *lane = &lanes->lane[lanes->lane[pick].opened ? pick : 0];
    if (timeout_ns > 0 && random_once_in(&lanes->world->random, 8)) {
        sim_world_spend(lanes->world, timeout_ns); /* no room for so long */
        return 0;
    }
    lane->in_round = true;
    int result = lane_sender_send(&lane->sender, batch, err);
    return result < 0 ? result : 1;
}

static int end_round(void *argument, uint32_t number, uint64_t timeout_ns, unsigned *ret_lanes,
                     struct error *err)
{
    struct sim_lanes *lanes = argument;
    (void)timeout_ns;
    *ret_lanes = 0;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        struct sim_lane *lane = &lanes->lane[i];
        if (lane->in_round) {
            int result = lane_sender_end_round(&lane->sender, number, 0, err);
            if (result < 0) {
                return result;
            }
            lane->in_round = false;
            ++*ret_lanes;
        }
    }
    return 1;
}

static void settle_source(void *argument, struct lane_figures *sum)
{
    struct sim_lanes *lanes = argument;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        if (lanes->lane[i].opened) {
            lane_sender_settle(&lanes->lane[i].sender, sum);
        }
    }
}

static uint64_t bytes_sent(void *argument)
{
    const struct sim_lanes *lanes = argument;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        bytes += lanes->lane[i].streams[SIM_SOURCE].bytes_sent;
    }
    return bytes;
}

static uint64_t bytes_queued(void *argument)
{
    const struct sim_lanes *lanes = argument;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        const struct engine_channel *channel = &lanes->lane[i].channels[SIM_SOURCE];
        bytes += channel->operations->queued(channel->channel);
    }
    return bytes;
}

static uint64_t pages_done(void *argument)
{
    const struct sim_lanes *lanes = argument;
    uint64_t pages = 0;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        const struct lane_figures *figures = &lanes->lane[i].sender.figures;
        pages += figures->pages_sent + figures->pages_zero;
    }
    return pages;
}

/* The links are hung up on when the source has ended: sim_lanes_close_source(). */
static void close_lanes(void *argument)
{
    (void)argument;
}

/* ---- the destination ---- */

static int take_frame(struct sim_lane *lane, struct error *err)
{
    struct sim_lanes *lanes = lane->lanes;
    struct wire_header header;
    struct wire_round_end end;
    int result = stream_receive_header(&lane->streams[SIM_DESTINATION], &header, err);
    if (result < 0) {
        return result;
    }
    if (header.type != WIRE_ROUND_END) {
        return lane_receiver_take(&lane->receiver, &header, err);
    }
    result = lane_receiver_round_end(&lane->receiver, &end, err);
    if (result < 0) {
        return result;
    }
    lane->ended = end.number;
    sim_world_wake(lanes->world, SIM_DESTINATION, lanes->world->now_ns);
    while (lane->settled < lane->ended && !lanes->closing) {
        sim_world_wait(lanes->world, lanes->world->now_ns + SLICE_NS);
    }
    return 0;
}

static void run_lane(void *argument)
{
    struct sim_lane *lane = argument;
    struct sim_lanes *lanes = lane->lanes;
    struct error err = ERROR_NONE;
    int result = 0;
    while (result >= 0 && !lanes->closing) {
        result = stream_wait(&lane->streams[SIM_DESTINATION], SLICE_NS, &err);
        if (result > 0) {
            result = take_frame(lane, &err);
        }
    }
    if (result < 0 && !lanes->closing && lanes->failure.code == 0) {
        lanes->failure = err;
    }
    sim_world_wake(lanes->world, SIM_DESTINATION, lanes->world->now_ns);
}

static int admit(void *argument, unsigned most, const struct page_set *received, struct error *err)
{
    struct sim_lanes *lanes = argument;
    lanes->received = received;
    for (unsigned i = 0; i < SIM_LANES && i < most; i++) {
        struct sim_lane *lane = &lanes->lane[i];
        int result = lane_receiver_init(&lane->receiver, &lane->streams[SIM_DESTINATION],
                                        lanes->guest, received, err);
        if (result < 0) {
            return result;
        }
        lane->admitted = true;
        sim_world_start(lanes->world, SIM_LANE_TASK(i), run_lane, lane);
    }
    return 0;
}

static int check(void *argument, struct error *err)
{
    const struct sim_lanes *lanes = argument;
    if (lanes->failure.code == 0) {
        return 0;
    }
    *err = lanes->failure;
    return -err->code;
}

static int await_round(void *argument, unsigned wanted, uint32_t number, uint64_t timeout_ns,
                       struct error *err)
{
    struct sim_lanes *lanes = argument;
    uint64_t end_ns = lanes->world->now_ns + timeout_ns;
    for (;;) {
        unsigned ended = 0;
        for (unsigned i = 0; i < SIM_LANES; i++) {
            ended += lanes->lane[i].ended == number;
        }
        int result = check(lanes, err);
        if (result < 0 || ended >= wanted || lanes->world->now_ns >= end_ns) {
            return result < 0 ? result : ended >= wanted;
        }
        sim_world_wait(lanes->world, end_ns);
    }
}

static void settle_destination(void *argument, struct page_set *received, uint64_t *pages)
{
    struct sim_lanes *lanes = argument;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        struct sim_lane *lane = &lanes->lane[i];
        if (lane->settled < lane->ended) {
            lane_receiver_settle(&lane->receiver, received, pages);
            lane->settled = lane->ended;
            sim_world_wake(lanes->world, SIM_LANE_TASK(i), lanes->world->now_ns);
        }
    }
}

/* Hangs up: a lane that waits for bytes ends. */
static void stop_receiving(void *argument)
{
    struct sim_lanes *lanes = argument;
    struct sim_world *world = lanes->world;
    lanes->closing = true;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        lanes->lane[i].link.cut_ns = world->now_ns;
        sim_world_wake(world, SIM_LANE_TASK(i), world->now_ns);
        while (!world->tasks[SIM_LANE_TASK(i)].done) {
            sim_world_wait(world, world->now_ns + 10 * NANOSECONDS_PER_MICROSECOND);
        }
    }
}

static uint64_t bytes_received(void *argument)
{
    const struct sim_lanes *lanes = argument;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SIM_LANES; i++) {
        bytes += lanes->lane[i].streams[SIM_DESTINATION].bytes_received;
    }
    return bytes;
}

/* ---- the whole ---- */

static void init_lane(struct sim_lanes *lanes, unsigned number, size_t window)
{
    static const char *const peers[SIM_SIDES] = {"destination", "source"};
    struct sim_lane *lane = &lanes->lane[number];
    lane->lanes = lanes;
    sim_link_init(&lane->link, lanes->world, window);
    lane->link.tasks[SIM_DESTINATION] = SIM_LANE_TASK(number);
    for (int side = 0; side < SIM_SIDES; side++) {
        lane->ends[side] = (struct sim_end){&lane->link, (enum sim_side)side};
        lane->channels[side] = sim_link_channel(&lane->ends[side]);
        lane->streams[side] =
            (struct stream){.channel = &lane->channels[side], .peer = peers[side]};
    }
}

void sim_lanes_init(struct sim_lanes *lanes, struct sim_world *world, size_t window)
{
    static const struct engine_lanes_operations source = {
        .open = open_lanes,
        .submit = submit,
        .end_round = end_round,
        .settle = settle_source,
        .bytes_sent = bytes_sent,
        .bytes_queued = bytes_queued,
        .pages_done = pages_done,
        .close = close_lanes,
    };
    static const struct engine_arrivals_operations destination = {
        .open = admit,
        .check = check,
        .await_round = await_round,
        .settle = settle_destination,
        .hang_up = stop_receiving,
        .close = stop_receiving,
        .bytes_received = bytes_received,
    };
    *lanes = (struct sim_lanes){.world = world};
    lanes->source = (struct engine_lanes){
        .operations = &source, .batch_pages = 16, .worth_pages = 8, .lanes = lanes};
    lanes->destination = (struct engine_arrivals){.operations = &destination, .arrivals = lanes};
    for (unsigned i = 0; i < SIM_LANES; i++) {
        init_lane(lanes, i, window);
    }
}

void sim_lanes_done(struct sim_lanes *lanes)
{
    for (unsigned i = 0; i < SIM_LANES; i++) {
        struct sim_lane *lane = &lanes->lane[i];
        lane_sender_done(&lane->sender);
        if (lane->admitted) {
            lane_receiver_done(&lane->receiver);
        }
        sim_link_done(&lane->link);
    }
}

void sim_lanes_close_source(struct sim_lanes *lanes)
{
    for (unsigned i = 0; i < SIM_LANES; i++) {
        sim_link_close(&lanes->lane[i].link, SIM_SOURCE);
    }
}

void sim_lanes_close_destination(struct sim_lanes *lanes)
{
    stop_receiving(lanes);
    for (unsigned i = 0; i < SIM_LANES; i++) {
        sim_link_close(&lanes->lane[i].link, SIM_DESTINATION);
    }
}
