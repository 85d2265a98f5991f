/* The simulated channel: see link.h. */
#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void sim_link_init(struct sim_link *link, struct sim_world *world, size_t window)
{
    *link = (struct sim_link){.world = world,
                              .tasks = {SIM_SOURCE, SIM_DESTINATION},
                              .rate = NANOSECONDS_PER_SECOND,
                              .patience_ns = 20 * NANOSECONDS_PER_SECOND,
                              .cut_ns = SIM_NEVER,
                              .silent_ns = SIM_NEVER,
                              .cut_bytes = SIM_NEVER,
                              .spoil_byte = SIM_NEVER,
                              .full_bytes = SIM_NEVER};
    for (int side = 0; side < SIM_SIDES; side++) {
        link->pipes[side].window = window;
        link->pipes[side].bytes = malloc(window);
    }
}

void sim_link_done(struct sim_link *link)
{
    free(link->pipes[SIM_SOURCE].bytes);
    free(link->pipes[SIM_DESTINATION].bytes);
}

static enum sim_side other(enum sim_side side)
{
    return side == SIM_SOURCE ? SIM_DESTINATION : SIM_SOURCE;
}

void sim_link_close(struct sim_link *link, enum sim_side side)
{
    link->pipes[side].closed = true;
    sim_world_wake(link->world, link->tasks[other(side)], link->world->now_ns + link->delay_ns);
}

static bool is_cut(const struct sim_link *link)
{
    return link->world->now_ns >= link->cut_ns ||
           link->pipes[SIM_SOURCE].carried >= link->cut_bytes;
}

/* Waits for the other side; gives up when told to, or when nothing has moved for long. */
static int block(struct sim_end *end, uint64_t since_ns, uint64_t until_ns, struct error *err)
{
    struct sim_link *link = end->link;
    struct sim_world *world = link->world;
    uint64_t slice_ns = world->now_ns + 10 * NANOSECONDS_PER_MILLISECOND;
    if (link->cancelled(link->observer, end->side)) {
        return error_set(err, ECANCELED, "the move was cancelled");
    }
    if (world->now_ns - since_ns > link->patience_ns) {
        return error_set(err, ETIMEDOUT, "the channel stands still");
    }
    sim_world_wait(world, until_ns < slice_ns ? until_ns : slice_ns);
    return 0;
}

/* Puts as much as fits on its way. */
static size_t push(struct sim_link *link, enum sim_side side, const uint8_t *bytes, size_t length)
{
    struct sim_pipe *pipe = &link->pipes[side];
    uint64_t now_ns = link->world->now_ns;
    size_t room = pipe->window - pipe->length;
    size_t part = length < room ? length : room;
    if (part == 0 || pipe->segment_count == SIM_SEGMENTS) {
        return 0;
    }
    for (size_t i = 0, done = 0; done < part; done += i) {
        size_t at = (pipe->start + pipe->length + done) % pipe->window;
        i = part - done < pipe->window - at ? part - done : pipe->window - at;
        memcpy(pipe->bytes + at, bytes + done, i);
    }
    if (side == SIM_SOURCE && link->spoil_byte - pipe->carried < part) {
        size_t at = pipe->start + pipe->length + (size_t)(link->spoil_byte - pipe->carried);
        pipe->bytes[at % pipe->window] ^= (uint8_t)(1 + link->spoil_byte % 255);
    }
    pipe->length += part;
    pipe->carried += part;
    pipe->free_ns = (pipe->free_ns > now_ns ? pipe->free_ns : now_ns) +
                    part * NANOSECONDS_PER_SECOND / link->rate;
    struct sim_segment *segment =
        &pipe->segments[(pipe->segment_start + pipe->segment_count++) % SIM_SEGMENTS];
    *segment = (struct sim_segment){
        now_ns >= link->silent_ns ? SIM_NEVER : pipe->free_ns + link->delay_ns, part};
    sim_world_wake(link->world, link->tasks[other(side)], segment->arrives_ns);
    return part;
}

static int send_bytes(struct sim_end *end, const uint8_t *bytes, size_t length, struct error *err)
{
    struct sim_link *link = end->link;
    uint64_t since_ns = link->world->now_ns;
    while (length > 0) {
        if (is_cut(link)) {
            return error_set(err, ECONNRESET, "the connection was cut");
        }
        if (link->pipes[other(end->side)].closed) {
            return error_set(err, EPIPE, "the other side has closed the connection");
        }
        size_t part = push(link, end->side, bytes, length);
        if (part > 0) {
            since_ns = link->world->now_ns;
            bytes += part;
            length -= part;
            continue;
        }
        int result = block(end, since_ns, SIM_NEVER, err);
        if (result < 0) {
            return result;
        }
    }
    sim_world_tick(link->world);
    return 0;
}

static int link_send(void *channel, const struct iovec *pieces, int count, bool more,
                     struct error *err)
{
    (void)more;
    int result = 0;
    for (int i = 0; i < count && result == 0; i++) {
        result = send_bytes(channel, pieces[i].iov_base, pieces[i].iov_len, err);
    }
    return result;
}

static int link_send_file(void *channel, int fd, uint64_t offset, uint64_t length, bool more,
                          struct error *err)
{
    struct sim_end *end = channel;
    (void)fd, (void)more;
    return send_bytes(end, end->link->file + offset, length, err);
}

static bool has_arrived(const struct sim_link *link, const struct sim_pipe *pipe)
{
    return pipe->segment_count > 0 &&
           pipe->segments[pipe->segment_start].arrives_ns <= link->world->now_ns;
}

/* Takes what has arrived, at most `length` bytes. */
static size_t pull(struct sim_link *link, enum sim_side from, uint8_t *bytes, size_t length)
{
    struct sim_pipe *pipe = &link->pipes[from];
    struct sim_segment *segment = &pipe->segments[pipe->segment_start];
    size_t part = segment->length < length ? segment->length : length;
    for (size_t i = 0, done = 0; done < part; done += i) {
        size_t at = (pipe->start + done) % pipe->window;
        i = part - done < pipe->window - at ? part - done : pipe->window - at;
        memcpy(bytes + done, pipe->bytes + at, i);
    }
    pipe->start = (pipe->start + part) % pipe->window;
    pipe->length -= part;
    segment->length -= part;
    if (segment->length == 0) {
        pipe->segment_start = (pipe->segment_start + 1) % SIM_SEGMENTS;
        pipe->segment_count--;
    }
    sim_world_wake(link->world, link->tasks[from], link->world->now_ns);
    return part;
}

/* When something could be received, as far as known now. */
static uint64_t next_arrival(const struct sim_pipe *pipe)
{
    return pipe->segment_count > 0 ? pipe->segments[pipe->segment_start].arrives_ns : SIM_NEVER;
}

static bool is_over(const struct sim_link *link, const struct sim_pipe *pipe)
{
    return is_cut(link) || (pipe->closed && pipe->segment_count == 0);
}

static int receive_bytes(struct sim_end *end, uint8_t *bytes, size_t length, struct error *err)
{
    struct sim_link *link = end->link;
    struct sim_pipe *pipe = &link->pipes[other(end->side)];
    uint64_t since_ns = link->world->now_ns;
    while (length > 0) {
        if (has_arrived(link, pipe)) {
            size_t part = pull(link, other(end->side), bytes, length);
            since_ns = link->world->now_ns;
            bytes += part;
            length -= part;
            continue;
        }
        if (is_over(link, pipe)) {
            return error_set(err, ECONNRESET, "the connection was lost");
        }
        int result = block(end, since_ns, next_arrival(pipe), err);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int link_receive(void *channel, const struct iovec *pieces, int count, struct error *err)
{
    struct sim_end *end = channel;
    int result = 0;
    if (end->side == SIM_DESTINATION && pieces[0].iov_len >= 4096 &&
        end->link->pipes[SIM_SOURCE].carried >= end->link->full_bytes) {
        return error_set(err, EFAULT, "no page left");
    }
    for (int i = 0; i < count && result == 0; i++) {
        result = receive_bytes(end, pieces[i].iov_base, pieces[i].iov_len, err);
    }
    sim_world_tick(end->link->world);
    return result;
}

static int link_wait_readable(void *channel, uint64_t timeout_ns, struct error *err)
{
    struct sim_end *end = channel;
    struct sim_link *link = end->link;
    struct sim_pipe *pipe = &link->pipes[other(end->side)];
    uint64_t end_ns = link->world->now_ns + timeout_ns;
    (void)err;
    for (;;) {
        if (has_arrived(link, pipe) || is_over(link, pipe)) {
            return 1;
        }
        if (link->world->now_ns >= end_ns) {
            return 0;
        }
        uint64_t arrival_ns = next_arrival(pipe);
        sim_world_wait(link->world, arrival_ns < end_ns ? arrival_ns : end_ns);
    }
}

static uint64_t link_queued(void *channel)
{
    struct sim_end *end = channel;
    const struct sim_pipe *pipe = &end->link->pipes[end->side];
    uint64_t queued = 0;
    for (size_t i = 0; i < pipe->segment_count; i++) {
        const struct sim_segment *segment =
            &pipe->segments[(pipe->segment_start + i) % SIM_SEGMENTS];
        queued += segment->arrives_ns > end->link->world->now_ns ? segment->length : 0;
    }
    return queued;
}

struct engine_channel sim_link_channel(struct sim_end *end)
{
    static const struct engine_channel_operations operations = {
        .send = link_send,
        .send_file = link_send_file,
        .receive = link_receive,
        .wait_readable = link_wait_readable,
        .queued = link_queued,
    };
    return (struct engine_channel){.operations = &operations, .channel = end};
}
