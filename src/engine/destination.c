/*
 * The destination side of a move: states, handshake, loading, readiness, doubt.
 *
 * Theory of operation. Until READY the source owns the VM whatever happens, so any failure here
 * means giving up, with a last word to the source. From the moment before READY is sent the source
 * may have committed without our knowing: then only RUN or ownership's own answer counts. An ABORT,
 * a lost or silent channel, nonsense, even a cancel: all lead to settle(), which either finds the
 * commit done or makes it impossible.
 */
#include "engine/destination.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/destination_internal.h"
#include "engine/handshake.h"

#define SLICE_NS (20 * NANOSECONDS_PER_MILLISECOND)
#define TELL_NS (100 * NANOSECONDS_PER_MILLISECOND)

struct state_row {
    const char *name;
    unsigned next; /* bits of the states that may follow */
};

#define BIT(state) (1u << (state))
static const struct state_row state_rows[] = {
    [DESTINATION_CONNECT] = {"connect", BIT(DESTINATION_RECEIVING) | BIT(DESTINATION_ABANDONED)},
    [DESTINATION_RECEIVING] = {"receiving", BIT(DESTINATION_LOADING) | BIT(DESTINATION_ABANDONED)},
    [DESTINATION_LOADING] = {"loading", BIT(DESTINATION_READY) | BIT(DESTINATION_ABANDONED)},
    [DESTINATION_READY] = {"ready", BIT(DESTINATION_RUNNING) | BIT(DESTINATION_ABANDONED)},
    [DESTINATION_RUNNING] = {"running", 0},
    [DESTINATION_ABANDONED] = {"abandoned", 0},
};

static void set_state(struct destination *destination, enum destination_state state)
{
    assert(state_rows[destination->state].next & BIT(state));
    destination->state = state;
}

static uint64_t now(const struct destination *destination)
{
    return destination->clock->now_ns(destination->clock->clock);
}

static uint64_t bytes_received(const struct destination *destination)
{
    const struct engine_arrivals *arrivals = destination->arrivals;
    uint64_t others = arrivals ? arrivals->operations->bytes_received(arrivals->arrivals) : 0;
    return destination->stream.bytes_received + others;
}

static void tell(struct destination *destination)
{
    struct engine_progress *progress = &destination->progress;
    progress->round = destination->round;
    progress->bytes_sent = bytes_received(destination);
    progress->elapsed_ns = now(destination) - destination->started_ns;
    destination->progress_told_ns = now(destination);
    destination->observer->progress(destination->observer->observer, progress);
}

static void tell_phase(struct destination *destination, enum engine_phase phase)
{
    destination->progress.phase = phase;
    if (phase == ENGINE_PHASE_DONE) {
        destination->progress.fraction = 1.0;
    }
    tell(destination);
}

static int check_guest(const struct destination *destination, struct error *err)
{
    const struct engine_destination_guest *guest = destination->guest;
    return guest->operations->check ? guest->operations->check(guest->guest, err) : 0;
}

/* Whether to go on: not cancelled, the new machine lives, no connection has failed. */
static int check_well(const struct destination *destination, struct error *err)
{
    const struct engine_arrivals *arrivals = destination->arrivals;
    if (destination->observer->cancelled(destination->observer->observer)) {
        return error_set(err, ECANCELED, "the move was cancelled");
    }
    int result = check_guest(destination, err);
    if (result < 0 || !arrivals || destination->state != DESTINATION_RECEIVING) {
        return result;
    }
    return arrivals->operations->check(arrivals->arrivals, err);
}

/* Waits for the next frame, and receives its header. */
static int next_frame(struct destination *destination, struct wire_header *ret_header,
                      struct error *err)
{
    uint64_t began_ns = now(destination), limit_ns = destination->options->silence_limit_ns;
    for (;;) {
        int result = check_well(destination, err);
        if (result < 0) {
            return result;
        }
        result = stream_wait(&destination->stream, SLICE_NS, err);
        if (result < 0) {
            return result;
        }
        if (result > 0) {
            return stream_receive_header(&destination->stream, ret_header, err);
        }
        if (now(destination) - began_ns >= limit_ns) {
            return error_set(err, ETIMEDOUT, "the source has said nothing for %llu s",
                             (unsigned long long)(limit_ns / NANOSECONDS_PER_SECOND));
        }
    }
}

static int receive_hello(struct destination *destination, const struct handshake_terms *terms,
                         unsigned *ret_channel_count, struct error *err)
{
    struct wire_header header;
    unsigned channel;
    int result = next_frame(destination, &header, err);
    if (result < 0) {
        return result;
    }
    if (header.type != WIRE_HELLO) {
        return stream_unexpected(&destination->stream, header.type, "connect", err);
    }
    result = stream_receive(&destination->stream, destination->body, header.length, err);
    if (result == 0) {
        result = handshake_check_hello(terms, destination->body, header.length, &channel,
                                       ret_channel_count, err);
    }
    if (result == 0 && channel != 0) {
        return error_set(err, EPROTO, "the source begins with channel %u", channel);
    }
    return result;
}

/* Further connections are let in from now on: no more than both sides want. */
static int open_arrivals(struct destination *destination, unsigned channel_count, struct error *err)
{
    const struct engine_arrivals *arrivals = destination->arrivals;
    unsigned most = destination->options->channels_most;
    unsigned count = channel_count < most ? channel_count : most;
    if (!arrivals || count < 2) {
        return 0;
    }
    return arrivals->operations->open(arrivals->arrivals, count - 1, &destination->received, err);
}

static int shake_hands(struct destination *destination, struct error *err)
{
    const struct engine_destination_options *options = destination->options;
    struct handshake_terms terms = {options->token, options->move_id,
                                    destination->guest->memory_size};
    unsigned channel_count;
    tell_phase(destination, ENGINE_PHASE_CONNECT);
    int result = receive_hello(destination, &terms, &channel_count, err);
    if (result == 0) {
        result = open_arrivals(destination, channel_count, err);
    }
    if (result == 0) {
        unsigned most = destination->arrivals ? options->channels_most : 1;
        result = handshake_send_welcome(&destination->stream, &terms, most, err);
    }
    if (result == 0) {
        set_state(destination, DESTINATION_RECEIVING);
        tell_phase(destination, ENGINE_PHASE_PRECOPY);
    }
    return result;
}

/* The other connections bring their parts of the round, too. */
static int await_arrivals(struct destination *destination, const struct wire_round_end *end,
                          struct error *err)
{
    const struct engine_arrivals *arrivals = destination->arrivals;
    uint64_t began_ns = now(destination), bytes = 0;
    if (!arrivals) {
        return error_set(err, EPROTO, "the source has %u channels more than this side let in",
                         end->channels);
    }
    for (;;) {
        int result = check_well(destination, err);
        if (result == 0) {
            result = arrivals->operations->await_round(arrivals->arrivals, end->channels,
                                                       end->number, SLICE_NS, err);
        }
        if (result != 0) {
            return result < 0 ? result : 0;
        }
        if (bytes_received(destination) != bytes) { /* a slow link is not a silent one */
            bytes = bytes_received(destination);
            began_ns = now(destination);
        }
        if (now(destination) - began_ns >= destination->options->silence_limit_ns) {
            return error_set(err, ETIMEDOUT, "a part of round %u is missing", end->number);
        }
    }
}

/* All of the round is in memory. */
static int settle_round(struct destination *destination, const struct wire_round_end *end,
                        struct error *err)
{
    uint64_t *pages = &destination->statistics->pages_received;
    if (end->channels > 0) {
        int result = await_arrivals(destination, end, err);
        if (result < 0) {
            return result;
        }
        const struct engine_arrivals *arrivals = destination->arrivals;
        arrivals->operations->settle(arrivals->arrivals, &destination->received, pages);
    }
    lane_receiver_settle(&destination->lane, &destination->received, pages);
    return 0;
}

static int end_round(struct destination *destination, struct error *err)
{
    uint8_t body[WIRE_ROUND_ACK_SIZE];
    struct wire_round_end end;
    int result = lane_receiver_round_end(&destination->lane, &end, err);
    if (result < 0) {
        return result;
    }
    if (end.number != destination->round + 1) {
        return error_set(err, EPROTO, "the source broke the protocol: round %u ends after round %u",
                         end.number, destination->round);
    }
    result = settle_round(destination, &end, err);
    if (result < 0) {
        return result;
    }
    destination->round = end.number;
    wire_round_ack_encode(&(struct wire_round_ack){.number = end.number}, body);
    return stream_send(&destination->stream, WIRE_ROUND_ACK, body, sizeof(body), err);
}

static int receive_state(struct destination *destination, uint32_t length, struct error *err)
{
    const struct engine_destination_guest *guest = destination->guest;
    int result = stream_receive(&destination->stream, destination->body, length, err);
    if (result < 0) {
        return result;
    }
    if (destination->progress.phase != ENGINE_PHASE_SWITCHOVER) {
        tell_phase(destination, ENGINE_PHASE_SWITCHOVER);
    }
    destination->state_bytes += length;
    return guest->operations->load_state(guest->guest, destination->body, length, err);
}

static int end_state(struct destination *destination, uint32_t length, struct error *err)
{
    struct wire_state_end end;
    int result = stream_receive(&destination->stream, destination->body, length, err);
    if (result == 0) {
        result = wire_state_end_decode(destination->body, &end, err);
    }
    if (result < 0) {
        return result;
    }
    if (end.state_bytes != destination->state_bytes) {
        return error_set(err, EPROTO, "%llu bytes of device state were sent, but %llu arrived",
                         (unsigned long long)end.state_bytes,
                         (unsigned long long)destination->state_bytes);
    }
    if (destination->arrivals) {
        destination->arrivals->operations->hang_up(destination->arrivals->arrivals);
    }
    set_state(destination, DESTINATION_LOADING);
    return 0;
}

/* One frame of those that make up the guest. */
static int receive_frame(struct destination *destination, const struct wire_header *header,
                         struct error *err)
{
    switch (header->type) {
    case WIRE_PAGES:
    case WIRE_PACKED:
    case WIRE_ZERO:
        return lane_receiver_take(&destination->lane, header, err);
    case WIRE_ROUND_END:
        return end_round(destination, err);
    case WIRE_DEVICE_STATE:
        return receive_state(destination, header->length, err);
    case WIRE_STATE_END:
        return end_state(destination, header->length, err);
    case WIRE_KEEPALIVE:
        return stream_send(&destination->stream, WIRE_KEEPALIVE, NULL, 0, err);
    case WIRE_ABORT:
        return stream_receive_abort(&destination->stream, header->length, err);
    default:
        return stream_unexpected(&destination->stream, header->type,
                                 state_rows[destination->state].name, err);
    }
}

static int receive_guest(struct destination *destination, struct error *err)
{
    while (destination->state == DESTINATION_RECEIVING) {
        struct wire_header header;
        int result = next_frame(destination, &header, err);
        if (result == 0) {
            result = receive_frame(destination, &header, err);
        }
        if (result < 0) {
            return result;
        }
        if (now(destination) - destination->progress_told_ns >= TELL_NS) {
            tell(destination);
        }
    }
    return 0;
}

static int load(struct destination *destination, struct error *err)
{
    const struct engine_destination_guest *guest = destination->guest;
    uint64_t began_ns = now(destination);
    int result = guest->operations->finish_load(guest->guest, err);
    destination->statistics->load_state_ns = now(destination) - began_ns;
    if (destination->arrivals) { /* they have ended meanwhile */
        destination->arrivals->operations->close(destination->arrivals->arrivals);
    }
    return result;
}

/* Says READY and waits for RUN. Whatever else happens leaves it to ownership. */
static int await_run(struct destination *destination, struct error *err)
{
    uint8_t body[WIRE_READY_SIZE];
    struct wire_header header;
    struct wire_ready ready = {.load_state_ns = destination->statistics->load_state_ns};
    wire_ready_encode(&ready, body);
    int result = stream_send(&destination->stream, WIRE_READY, body, sizeof(body), err);
    do {
        result = result < 0 ? result : next_frame(destination, &header, err);
    } while (result == 0 && header.type == WIRE_KEEPALIVE);
    if (result < 0 || header.type == WIRE_RUN) {
        return result;
    }
    if (header.type == WIRE_ABORT) {
        return stream_receive_abort(&destination->stream, header.length, err);
    }
    return stream_unexpected(&destination->stream, header.type, "ready", err);
}

static enum engine_outcome abandon(struct destination *destination, struct error *err)
{
    set_state(destination, DESTINATION_ABANDONED);
    stream_last_words(&destination->stream, err);
    stream_send_abort(&destination->stream, err, NULL); /* best effort */
    tell_phase(destination, err->code == ECANCELED ? ENGINE_PHASE_CANCELLED : ENGINE_PHASE_FAILED);
    return ENGINE_OUTCOME_STAYED;
}

/* The VM is ours. */
static enum engine_outcome run_guest(struct destination *destination, struct error *err)
{
    const struct engine_destination_guest *guest = destination->guest;
    uint8_t body[WIRE_RUNNING_SIZE];
    set_state(destination, DESTINATION_RUNNING);
    uint64_t began_ns = now(destination);
    if (guest->operations->run(guest->guest, err) < 0) {
        stream_send_abort(&destination->stream, err, NULL);
        tell_phase(destination, ENGINE_PHASE_FAILED);
        return ENGINE_OUTCOME_STRANDED;
    }
    destination->statistics->run_ns = now(destination) - began_ns;
    struct wire_running running = {.load_state_ns = destination->statistics->load_state_ns,
                                   .run_ns = destination->statistics->run_ns};
    wire_running_encode(&running, body);
    /* Lost, it is missed at the source, but changes nothing here. */
    stream_send(&destination->stream, WIRE_RUNNING, body, sizeof(body), NULL);
    tell_phase(destination, ENGINE_PHASE_DONE);
    return ENGINE_OUTCOME_MOVED;
}

static enum engine_outcome run(struct destination *destination, struct error *err)
{
    struct error doubt = ERROR_NONE;
    int result = shake_hands(destination, err);
    if (result == 0) {
        result = receive_guest(destination, err);
    }
    if (result == 0) {
        result = load(destination, err);
    }
    if (result < 0) {
        return abandon(destination, err);
    }
    set_state(destination, DESTINATION_READY);
    if (await_run(destination, &doubt) < 0 &&
        destination->ownership->settle(destination->ownership->ownership) == ENGINE_OWNER_SOURCE) {
        *err = doubt;
        return abandon(destination, err);
    }
    return run_guest(destination, err);
}

static void destination_free(struct destination *destination)
{
    lane_receiver_done(&destination->lane);
    page_set_done(&destination->received);
    free(destination->body);
    free(destination);
}

static struct destination *destination_new(uint64_t pages)
{
    struct destination *destination = calloc(1, sizeof(*destination));
    if (!destination) {
        return NULL;
    }
    destination->body = malloc(WIRE_STATE_MOST);
    if (!destination->body || page_set_init(&destination->received, pages) < 0) {
        destination_free(destination);
        return NULL;
    }
    return destination;
}

enum engine_outcome
engine_destination_run(const struct engine_destination_options *options,
                       const struct engine_destination_guest *guest,
                       const struct engine_channel *channel, const struct engine_arrivals *arrivals,
                       const struct engine_clock *clock, const struct engine_ownership *ownership,
                       const struct engine_observer *observer,
                       struct engine_destination_statistics *ret_statistics, struct error *err)
{
    *ret_statistics = (struct engine_destination_statistics){0};
    struct destination *destination = destination_new(guest->memory_size / ENGINE_PAGE_SIZE);
    if (!destination) {
        error_set(err, ENOMEM, "no memory to keep track of the guest's pages");
        return ENGINE_OUTCOME_STAYED;
    }
    destination->options = options;
    destination->guest = guest;
    destination->arrivals = arrivals;
    destination->clock = clock;
    destination->ownership = ownership;
    destination->observer = observer;
    destination->statistics = ret_statistics;
    destination->stream = (struct stream){.channel = channel, .peer = "source"};
    destination->started_ns = now(destination);
    enum engine_outcome outcome = ENGINE_OUTCOME_STAYED;
    if (lane_receiver_init(&destination->lane, &destination->stream, guest, &destination->received,
                           err) == 0) {
        outcome = run(destination, err);
    }
    if (arrivals) {
        arrivals->operations->close(arrivals->arrivals);
    }
    ret_statistics->bytes_received = bytes_received(destination);
    destination_free(destination);
    return outcome;
}
