/* The further connections at the source: see source_lanes.h. */
#include "mover/source_lanes.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/socket.h"
#include "engine/handshake.h"

#define BATCH_PAGES 512u  /* 2 MiB, of one huge page where it can be */
#define WORTH_PAGES 2048u /* 8 MiB */
#define CHOSEN_MOST 8u    /* lanes, unless the user asks for more */
#define GREETING_TIMEOUT_NS (2 * NANOSECONDS_PER_SECOND)
#define OPEN_TIMEOUT_NS (5 * NANOSECONDS_PER_SECOND)

unsigned source_lanes_channels(const struct mover_setup *setup)
{
    unsigned lanes = parallel_threads(CHOSEN_MOST);
    if (setup->options.channels > 0) {
        return setup->options.channels;
    }
    return (lanes < setup->path_count ? (unsigned)setup->path_count : lanes) + 1;
}

/* ---- a lane's thread ---- */

static void fail(struct source_lanes *lanes, const struct error *reason)
{
    if (!lanes->failed && !lanes->closing) {
        lanes->failed = true;
        lanes->failure = *reason;
    }
    pthread_cond_broadcast(&lanes->changed);
}

static int greet(struct source_lane *lane, struct error *err)
{
    const struct mover_setup *setup = lane->lanes->setup;
    struct handshake_terms terms = {setup->token, setup->move_id, setup->memory_size};
    uint8_t body[WIRE_GREETING_MOST];
    uint32_t length;
    unsigned most;
    int result =
        handshake_send_hello(&lane->stream, &terms, lane->number, lane->lanes->lane_count + 1, err);
    if (result == 0) {
        result =
            handshake_await(&lane->stream, WIRE_WELCOME, GREETING_TIMEOUT_NS, body, &length, err);
    }
    return result < 0 ? result : handshake_check_welcome(&terms, body, length, &most, err);
}

static const struct mover_path *path_of(const struct source_lane *lane)
{
    const struct mover_setup *setup = lane->lanes->setup;
    return &setup->paths[lane->number % setup->path_count];
}

/* The lane's from here on, so that who closes the lanes finds the socket, whatever it is doing. */
static int adopt_socket(struct source_lane *lane, int fd, struct error *err)
{
    struct source_lanes *lanes = lane->lanes;
    pthread_mutex_lock(&lanes->lock);
    socket_channel_init(&lane->channel, fd, lanes->cancelled);
    lane->channel.in_hurry = lanes->in_hurry;
    bool closing = lanes->closing;
    pthread_mutex_unlock(&lanes->lock);
    lane->stream = (struct stream){.channel = &lane->channel.channel, .peer = "destination"};
    return closing ? error_set(err, ECANCELED, "the move is over") : 0;
}

static int connect_lane(struct source_lane *lane, struct error *err)
{
    const struct mover_path *path = path_of(lane);
    int fd = socket_connect_begin(path->local_address, path->address, path->port, err);
    if (fd < 0) {
        return fd;
    }
    int result = adopt_socket(lane, fd, err);
    if (result == 0) {
        result = socket_connect_end(fd, path->address, path->port, SOURCE_LANES_CONNECT_NS, err);
    }
    if (result == 0 && lane->lanes->context) {
        result = secure_channel_greet(&lane->channel, lane->lanes->context, err);
    }
    if (result == 0) {
        result = greet(lane, err);
    }
    if (result == 0) {
        result = lane_sender_init(&lane->sender, &lane->stream, lane->lanes->terms, false, err);
    }
    return result;
}

/* Those that are in use are the first of those that are there. */
static bool is_active(const struct source_lane *lane)
{
    const struct source_lanes *lanes = lane->lanes;
    unsigned before = 0;
    for (unsigned i = 0; i + 1 < lane->number; i++) {
        before += lanes->lane[i].state == SOURCE_LANE_READY;
    }
    return before < lanes->count.active;
}

static bool may_take(const struct source_lane *lane)
{
    return lane->lanes->queue_length > 0 && is_active(lane);
}

static bool must_end(const struct source_lane *lane)
{
    const struct source_lanes *lanes = lane->lanes;
    return lanes->ending != 0 && lanes->queue_length == 0 && lane->in_round;
}

static int send_next(struct source_lane *lane, struct error *err)
{
    struct source_lanes *lanes = lane->lanes;
    struct page_batch batch = lanes->queue[lanes->queue_first];
    lanes->queue_first = (lanes->queue_first + 1) % SOURCE_LANES_QUEUE;
    lanes->queue_length--;
    bool first = !lane->in_round;
    lane->in_round = true;
    pthread_cond_broadcast(&lanes->changed);
    double idle = processor_idle_share(&lanes->idle, clock_monotonic_ns(), lanes->count.active);
    pthread_mutex_unlock(&lanes->lock);
    lane_sender_set_idle(&lane->sender, idle);
    if (first) {
        lane_sender_resume(&lane->sender);
    }
    int result = lane_sender_send(&lane->sender, &batch, err);
    atomic_store(&lane->pages_done,
                 lane->sender.figures.pages_sent + lane->sender.figures.pages_zero);
    pthread_mutex_lock(&lanes->lock);
    return result;
}

static int end_round(struct source_lane *lane, struct error *err)
{
    struct source_lanes *lanes = lane->lanes;
    uint32_t number = lanes->ending;
    pthread_mutex_unlock(&lanes->lock);
    int result = lane_sender_end_round(&lane->sender, number, 0, err);
    pthread_mutex_lock(&lanes->lock);
    lane->in_round = false;
    lanes->ended_lanes++;
    pthread_cond_broadcast(&lanes->changed);
    return result;
}

/* Called, and returns, with the lock held. */
static void serve(struct source_lane *lane)
{
    struct source_lanes *lanes = lane->lanes;
    struct error err = ERROR_NONE;
    int result = 0;
    while (!lanes->closing && result == 0) {
        if (may_take(lane)) {
            result = send_next(lane, &err);
        } else if (must_end(lane)) {
            result = end_round(lane, &err);
        } else {
            pthread_cond_wait(&lanes->work, &lanes->lock);
        }
    }
    if (result < 0) {
        const struct mover_path *path = path_of(lane);
        error_wrap(&err, "connection %u of the move, to %s, failed", lane->number, path->address);
        fail(lanes, &err);
    }
}

static unsigned count_state(const struct source_lanes *lanes, enum source_lane_state state)
{
    unsigned count = 0;
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        count += lanes->lane[i].state == state;
    }
    return count;
}

/* The last one to come leaves no key behind. The lock is held. */
static void settle_state(struct source_lane *lane, enum source_lane_state state)
{
    struct source_lanes *lanes = lane->lanes;
    lane->state = state;
    if (count_state(lanes, SOURCE_LANE_CONNECTING) == 0) {
        secure_context_forget(lanes->context);
    }
    pthread_cond_broadcast(&lanes->changed);
}

static void *lane_thread(void *argument)
{
    struct source_lane *lane = argument;
    struct source_lanes *lanes = lane->lanes;
    struct error err = ERROR_NONE;
    int result = connect_lane(lane, &err);
    if (result < 0) {
        log_warning("connection %u of the move is done without: %s", lane->number, err.message);
    }
    pthread_mutex_lock(&lanes->lock);
    settle_state(lane, result < 0 ? SOURCE_LANE_GONE : SOURCE_LANE_READY);
    if (result == 0) {
        serve(lane);
    }
    pthread_mutex_unlock(&lanes->lock);
    return NULL;
}

/* ---- the engine's calls ---- */

/* Waits for news at most until `deadline`. False when it has passed. The lock is held. */
static bool await_change(struct source_lanes *lanes, uint64_t deadline)
{
    return condition_wait(&lanes->changed, &lanes->lock, deadline);
}

static void start_lane(struct source_lanes *lanes, unsigned number)
{
    struct source_lane *lane = &lanes->lane[number - 1];
    lane->lanes = lanes;
    lane->number = number;
    lane->channel.fd = -1;
    lane->state = SOURCE_LANE_CONNECTING;
    int result = pthread_create(&lane->thread, NULL, lane_thread, lane);
    if (result != 0) {
        lane->lanes = NULL; /* there is no thread to end */
        lane->state = SOURCE_LANE_GONE;
    }
}

/* Every path has a lane from the start; more come where they pay. A number that the user gave is
 * taken as it is. */
static int open_lanes(void *argument, unsigned most, const struct lane_terms *terms,
                      struct error *err)
{
    struct source_lanes *lanes = argument;
    const struct mover_setup *setup = lanes->setup;
    unsigned least = setup->options.channels > 0 ? most : (unsigned)setup->path_count;
    uint64_t deadline = clock_monotonic_ns() + OPEN_TIMEOUT_NS;
    (void)err;
    pthread_mutex_lock(&lanes->lock);
    lanes->terms = terms;
    lanes->lane_count = most < SOURCE_LANES_MOST ? most : SOURCE_LANES_MOST;
    lane_count_init(&lanes->count, least, lanes->lane_count);
    for (unsigned number = 1; number <= lanes->lane_count; number++) {
        start_lane(lanes, number);
    }
    while (count_state(lanes, SOURCE_LANE_READY) == 0 &&
           count_state(lanes, SOURCE_LANE_CONNECTING) > 0 && await_change(lanes, deadline)) {
    }
    bool any = count_state(lanes, SOURCE_LANE_READY) > 0;
    pthread_mutex_unlock(&lanes->lock);
    return any;
}

static uint64_t total_sent(const struct source_lanes *lanes)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        bytes += atomic_load(&lanes->lane[i].channel.bytes_sent);
    }
    return bytes;
}

static int failure(struct source_lanes *lanes, struct error *err)
{
    *err = lanes->failure;
    return -err->code;
}

static int submit(void *argument, const struct page_batch *batch, uint64_t timeout_ns,
                  struct error *err)
{
    struct source_lanes *lanes = argument;
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    int result = 1;
    pthread_mutex_lock(&lanes->lock);
    while (!lanes->failed && lanes->queue_length == SOURCE_LANES_QUEUE && result == 1) {
        result = await_change(lanes, deadline);
    }
    if (lanes->failed) {
        result = failure(lanes, err);
    } else if (result == 1) {
        unsigned last = (lanes->queue_first + lanes->queue_length++) % SOURCE_LANES_QUEUE;
        lanes->queue[last] = *batch;
        lane_count_sample(&lanes->count, clock_monotonic_ns(), total_sent(lanes));
        pthread_cond_broadcast(&lanes->work);
    }
    pthread_mutex_unlock(&lanes->lock);
    return result;
}

static bool is_quiet(const struct source_lanes *lanes)
{
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        if (lanes->lane[i].in_round) {
            return false;
        }
    }
    return lanes->queue_length == 0;
}

static int end_round_on_all(void *argument, uint32_t number, uint64_t timeout_ns,
                            unsigned *ret_lanes, struct error *err)
{
    struct source_lanes *lanes = argument;
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    int result = 1;
    pthread_mutex_lock(&lanes->lock);
    if (lanes->ending != number) {
        lanes->ending = number;
        lanes->ended_lanes = 0;
    }
    while (!lanes->failed && !is_quiet(lanes) && result == 1) {
        pthread_cond_broadcast(&lanes->work); /* the last batch may have been taken just now */
        result = await_change(lanes, deadline);
    }
    if (lanes->failed) {
        result = failure(lanes, err);
    } else if (result == 1) {
        lanes->ending = 0;
        *ret_lanes = lanes->ended_lanes;
    }
    pthread_mutex_unlock(&lanes->lock);
    return result;
}

static void settle(void *argument, struct lane_figures *sum)
{
    struct source_lanes *lanes = argument;
    pthread_mutex_lock(&lanes->lock);
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        if (lanes->lane[i].state == SOURCE_LANE_READY) {
            lane_sender_settle(&lanes->lane[i].sender, sum);
            atomic_store(&lanes->lane[i].pages_done, 0);
        }
    }
    lane_count_resume(&lanes->count, clock_monotonic_ns(), total_sent(lanes));
    pthread_mutex_unlock(&lanes->lock);
}

static uint64_t bytes_sent(void *argument)
{
    struct source_lanes *lanes = argument;
    pthread_mutex_lock(&lanes->lock); /* a lane may be about to begin */
    uint64_t bytes = total_sent(lanes);
    pthread_mutex_unlock(&lanes->lock);
    return bytes;
}

static uint64_t pages_done(void *argument)
{
    struct source_lanes *lanes = argument;
    uint64_t pages = 0;
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        pages += atomic_load(&lanes->lane[i].pages_done);
    }
    return pages;
}

static uint64_t bytes_queued(void *argument)
{
    struct source_lanes *lanes = argument;
    uint64_t bytes = 0;
    pthread_mutex_lock(&lanes->lock);
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        struct engine_channel *channel = &lanes->lane[i].channel.channel;
        if (lanes->lane[i].state == SOURCE_LANE_READY) {
            bytes += channel->operations->queued(channel->channel);
        }
    }
    pthread_mutex_unlock(&lanes->lock);
    return bytes;
}

/* A lane that connects, sends, or waits to be greeted, is woken by its socket's end. */
static void hang_up(struct source_lanes *lanes)
{
    pthread_mutex_lock(&lanes->lock);
    lanes->closing = true;
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        if (lanes->lane[i].channel.fd >= 0) {
            shutdown(lanes->lane[i].channel.fd, SHUT_RDWR);
        }
    }
    pthread_cond_broadcast(&lanes->work);
    pthread_mutex_unlock(&lanes->lock);
}

static void close_lanes(void *argument)
{
    struct source_lanes *lanes = argument;
    hang_up(lanes);
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        struct source_lane *lane = &lanes->lane[i];
        if (lane->lanes) {
            pthread_join(lane->thread, NULL);
            lane->lanes = NULL;
        }
    }
}

/* ---- the whole ---- */

struct source_lanes *source_lanes_new(const struct mover_setup *setup,
                                      struct secure_context *context, const atomic_bool *cancelled,
                                      const atomic_bool *in_hurry)
{
    static const struct engine_lanes_operations operations = {
        .open = open_lanes,
        .submit = submit,
        .end_round = end_round_on_all,
        .settle = settle,
        .bytes_sent = bytes_sent,
        .bytes_queued = bytes_queued,
        .pages_done = pages_done,
        .close = close_lanes,
    };
    struct source_lanes *lanes = calloc(1, sizeof(*lanes));
    if (!lanes) {
        return NULL;
    }
    lanes->setup = setup;
    lanes->context = context;
    lanes->cancelled = cancelled;
    lanes->in_hurry = in_hurry;
    processor_idle_init(&lanes->idle, setup->options.compress ? setup->processor_fd : -1);
    lanes->engine = (struct engine_lanes){.operations = &operations,
                                          .batch_pages = BATCH_PAGES,
                                          .worth_pages = WORTH_PAGES,
                                          .lanes = lanes};
    pthread_mutex_init(&lanes->lock, NULL);
    pthread_cond_init(&lanes->work, NULL);
    condition_init(&lanes->changed);
    return lanes;
}

void source_lanes_free(struct source_lanes *lanes)
{
    if (!lanes) {
        return;
    }
    close_lanes(lanes);
    for (unsigned i = 0; i < lanes->lane_count; i++) {
        socket_channel_done(&lanes->lane[i].channel);
        lane_sender_done(&lanes->lane[i].sender);
    }
    pthread_cond_destroy(&lanes->work);
    pthread_cond_destroy(&lanes->changed);
    pthread_mutex_destroy(&lanes->lock);
    free(lanes);
}
