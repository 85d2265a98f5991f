/* The further connections at the destination: see destination_lanes.h. */
#include "mover/destination_lanes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"
#include "engine/handshake.h"
#include "mover/lobby.h"

#define GREETING_NS (500 * NANOSECONDS_PER_MILLISECOND) /* for a stranger's first words */
#define SLICE_NS (20 * NANOSECONDS_PER_MILLISECOND)

unsigned destination_lanes_channels(void)
{
    return MOVER_CHANNELS_MOST;
}

/* ---- a lane's thread ---- */

/* The lane has brought all of a round: it waits until that is taken from it. */
static int end_round(struct destination_lane *lane, struct error *err)
{
    struct destination_lanes *lanes = lane->lanes;
    struct wire_round_end end;
    int result = lane_receiver_round_end(&lane->receiver, &end, err);
    if (result < 0) {
        return result;
    }
    if (end.number <= lane->ended) {
        return error_set(err, EPROTO, "the source broke the protocol: round %u ends after round %u",
                         end.number, lane->ended);
    }
    pthread_mutex_lock(&lanes->lock);
    lane->ended = end.number;
    pthread_cond_broadcast(&lanes->changed);
    while (lane->settled < lane->ended && !lanes->closing) {
        pthread_cond_wait(&lanes->changed, &lanes->lock);
    }
    pthread_mutex_unlock(&lanes->lock);
    return 0;
}

static int take_frame(struct destination_lane *lane, struct error *err)
{
    struct wire_header header;
    int result = stream_receive_header(&lane->stream, &header, err);
    if (result < 0) {
        return result;
    }
    if (header.type == WIRE_ROUND_END) {
        return end_round(lane, err);
    }
    return lane_receiver_take(&lane->receiver, &header, err);
}

static void fail(struct destination_lane *lane, const struct error *reason)
{
    struct destination_lanes *lanes = lane->lanes;
    pthread_mutex_lock(&lanes->lock);
    if (!lanes->failed && !lanes->closing) {
        lanes->failed = true;
        lanes->failure = *reason;
    }
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->lock);
}

static void *lane_thread(void *argument)
{
    struct destination_lane *lane = argument;
    struct error err = ERROR_NONE;
    int result = 0;
    while (result >= 0 && !atomic_load(&lane->lanes->closing)) {
        result = stream_wait(&lane->stream, SLICE_NS, &err);
        if (result > 0) {
            result = take_frame(lane, &err);
        }
        atomic_store(&lane->bytes_received, lane->stream.bytes_received);
    }
    if (result < 0) {
        error_wrap(&err, "connection %u of the move failed", lane->number);
        fail(lane, &err);
    }
    return NULL;
}

/* ---- letting them in ---- */

static int greet(struct destination_lane *lane, struct error *err)
{
    const struct destination_lanes *lanes = lane->lanes;
    const struct mover_setup *setup = lanes->setup;
    struct handshake_terms terms = {setup->token, setup->move_id, setup->memory_size};
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    unsigned channel, count;
    int result = handshake_await(&lane->stream, WIRE_HELLO, GREETING_NS, body, &length, err);
    if (result == 0) {
        result = handshake_check_hello(&terms, body, length, &channel, &count, err);
    }
    if (result < 0) {
        return result;
    }
    if (channel > lanes->most) {
        return error_set(err, EPROTO, "there is no channel %u, only %u", channel, lanes->most);
    }
    for (unsigned i = 0; i < lanes->count; i++) {
        if (channel == 0 || lanes->lane[i].number == channel) {
            return error_set(err, EPROTO, "channel %u is there already", channel);
        }
    }
    lane->number = channel;
    return handshake_send_welcome(&lane->stream, &terms, lanes->most + 1, err);
}

/* From here on the lane counts. The lock is held: once the lanes are closed nobody may look at what
 * the engine lent them. */
static int start_locked(struct destination_lane *lane, struct error *err)
{
    struct destination_lanes *lanes = lane->lanes;
    if (lanes->closing) {
        return error_set(err, ECANCELED, "the move is over");
    }
    int result =
        lane_receiver_init(&lane->receiver, &lane->stream, lanes->guest, lanes->received, err);
    if (result < 0) {
        return result;
    }
    lane->channel.deadline_ns = 0;
    int failed = pthread_create(&lane->thread, NULL, lane_thread, lane);
    if (failed) {
        lane_receiver_done(&lane->receiver);
        return error_set_errno(err, failed, "cannot start a thread");
    }
    lanes->count++;
    return 0;
}

static int start(struct destination_lane *lane, struct error *err)
{
    pthread_mutex_lock(&lane->lanes->lock);
    int result = start_locked(lane, err);
    pthread_mutex_unlock(&lane->lanes->lock);
    return result;
}

static void admit(struct destination_lanes *lanes, struct lobby *lobby, int fd,
                  struct secure_stream *secure)
{
    struct destination_lane *lane = &lanes->lane[lanes->count];
    struct error err = ERROR_NONE;
    *lane = (struct destination_lane){.lanes = lanes};
    socket_channel_init(&lane->channel, fd, lanes->cancelled);
    if (secure) {
        secure_channel_adopt(&lane->channel, secure);
    }
    lane->channel.deadline_ns = clock_monotonic_ns() + GREETING_NS;
    lane->stream = (struct stream){.channel = &lane->channel.channel, .peer = "source"};
    int result = greet(lane, &err);
    if (result == 0) {
        result = start(lane, &err);
    }
    if (result < 0) {
        lobby_turned_away(lobby, err.message);
        socket_channel_done(&lane->channel);
    }
}

static void *doorman_thread(void *argument)
{
    struct destination_lanes *lanes = argument;
    const struct mover_setup *setup = lanes->setup;
    struct error err = ERROR_NONE;
    CLEANUP_LOBBY struct lobby lobby;
    lobby_init(&lobby, setup->listen_fds, setup->listen_count, lanes->context);
    while (lanes->count < lanes->most && !atomic_load(&lanes->closing)) {
        struct secure_stream *secure;
        int fd = lobby_wait(&lobby, SLICE_NS, &secure, &err);
        if (fd >= 0) {
            admit(lanes, &lobby, fd, secure);
        } else if (fd != -EAGAIN) {
            log_warning("no further connections are let in: %s", err.message);
            break;
        }
    }
    secure_context_forget(lanes->context);
    return NULL;
}

/* ---- the engine's calls ---- */

static int open_door(void *argument, unsigned most, const struct page_set *received,
                     struct error *err)
{
    struct destination_lanes *lanes = argument;
    lanes->received = received;
    lanes->most = most < DESTINATION_LANES_MOST ? most : DESTINATION_LANES_MOST;
    int failed = pthread_create(&lanes->doorman, NULL, doorman_thread, lanes);
    if (failed) {
        return error_set_errno(err, failed, "cannot start a thread");
    }
    lanes->open = true;
    return 0;
}

static int check_locked(const struct destination_lanes *lanes, struct error *err)
{
    if (!lanes->failed) {
        return 0;
    }
    *err = lanes->failure;
    return -err->code;
}

static int check(void *argument, struct error *err)
{
    struct destination_lanes *lanes = argument;
    pthread_mutex_lock(&lanes->lock);
    int result = check_locked(lanes, err);
    pthread_mutex_unlock(&lanes->lock);
    return result;
}

static unsigned count_ended(const struct destination_lanes *lanes, uint32_t number)
{
    unsigned ended = 0;
    for (unsigned i = 0; i < lanes->count; i++) {
        ended += lanes->lane[i].ended == number;
    }
    return ended;
}

static int await_round(void *argument, unsigned wanted, uint32_t number, uint64_t timeout_ns,
                       struct error *err)
{
    struct destination_lanes *lanes = argument;
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    bool in_time = true;
    pthread_mutex_lock(&lanes->lock);
    while (!lanes->failed && count_ended(lanes, number) < wanted && in_time) {
        in_time = condition_wait(&lanes->changed, &lanes->lock, deadline);
    }
    int result = check_locked(lanes, err);
    if (result == 0) {
        result = count_ended(lanes, number) >= wanted;
    }
    pthread_mutex_unlock(&lanes->lock);
    return result;
}

static void settle(void *argument, struct page_set *received, uint64_t *pages)
{
    struct destination_lanes *lanes = argument;
    pthread_mutex_lock(&lanes->lock);
    for (unsigned i = 0; i < lanes->count; i++) {
        struct destination_lane *lane = &lanes->lane[i];
        if (lane->settled < lane->ended) {
            lane_receiver_settle(&lane->receiver, received, pages);
            lane->settled = lane->ended;
        }
    }
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->lock);
}

static uint64_t bytes_received(void *argument)
{
    struct destination_lanes *lanes = argument;
    uint64_t bytes = 0;
    pthread_mutex_lock(&lanes->lock);
    for (unsigned i = 0; i < lanes->count; i++) {
        bytes += atomic_load(&lanes->lane[i].bytes_received);
    }
    pthread_mutex_unlock(&lanes->lock);
    return bytes;
}

/* A lane that waits for bytes is woken by its socket's end. */
static void hang_up(void *argument)
{
    struct destination_lanes *lanes = argument;
    pthread_mutex_lock(&lanes->lock);
    for (unsigned i = 0; !lanes->closing && i < lanes->count; i++) {
        shutdown(lanes->lane[i].channel.fd, SHUT_RD);
    }
    atomic_store(&lanes->closing, true);
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->lock);
}

/* The doorman lets nobody in any more, and ends when he notices: nobody waits for him here, where a
 * guest may be standing still. */
static void close_lanes(void *argument)
{
    struct destination_lanes *lanes = argument;
    hang_up(lanes);
    for (unsigned i = 0; i < lanes->count; i++) { /* no more come */
        struct destination_lane *lane = &lanes->lane[i];
        if (!lane->joined) {
            pthread_join(lane->thread, NULL);
            lane->joined = true;
        }
    }
}

/* ---- the whole ---- */

struct destination_lanes *destination_lanes_new(const struct mover_setup *setup,
                                                struct secure_context *context,
                                                const struct engine_destination_guest *guest,
                                                const atomic_bool *cancelled)
{
    static const struct engine_arrivals_operations operations = {
        .open = open_door,
        .check = check,
        .await_round = await_round,
        .settle = settle,
        .hang_up = hang_up,
        .close = close_lanes,
        .bytes_received = bytes_received,
    };
    struct destination_lanes *lanes = calloc(1, sizeof(*lanes));
    if (!lanes) {
        return NULL;
    }
    lanes->setup = setup;
    lanes->context = context;
    lanes->guest = guest;
    lanes->cancelled = cancelled;
    lanes->engine = (struct engine_arrivals){.operations = &operations, .arrivals = lanes};
    pthread_mutex_init(&lanes->lock, NULL);
    condition_init(&lanes->changed);
    return lanes;
}

void destination_lanes_free(struct destination_lanes *lanes)
{
    if (!lanes) {
        return;
    }
    close_lanes(lanes);
    if (lanes->open) {
        pthread_join(lanes->doorman, NULL);
    }
    for (unsigned i = 0; i < lanes->count; i++) {
        socket_channel_done(&lanes->lane[i].channel);
        lane_receiver_done(&lanes->lane[i].receiver);
    }
    pthread_cond_destroy(&lanes->changed);
    pthread_mutex_destroy(&lanes->lock);
    free(lanes);
}
