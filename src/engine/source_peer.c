/* The source and its destination: waiting for it, keeping it informed, being told to stop. */
#include <string.h>

#include "base/clock.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

int source_check(struct source *source, struct error *err)
{
    if (source->state >= SOURCE_COMMITTING) {
        return 0; /* no way back, or a decision under way */
    }
    if (source->observer->cancelled(source->observer->observer)) {
        return error_set(err, ECANCELED, "the move was cancelled");
    }
    uint64_t timeout_ns = source->options->timeout_ns;
    if (source->state == SOURCE_PRECOPY && timeout_ns > 0 &&
        source_now(source) - source->started_ns >= timeout_ns) {
        source->time_is_up = source->options->on_timeout == ENGINE_ON_TIMEOUT_STOP;
        return source->time_is_up ? 0 : source_timeout_error(source, err);
    }
    return 0;
}

int source_send(struct source *source, enum wire_type type, const void *body, size_t length,
                struct error *err)
{
    source->last_sent_ns = source_now(source);
    return stream_send(&source->stream, type, body, length, err);
}

/* The destination's own limit on silence must not end a move that is only waiting. */
int source_keep_alive(struct source *source, struct error *err)
{
    if (source->state >= SOURCE_COMMITTING ||
        source_now(source) - source->last_sent_ns < SOURCE_KEEPALIVE_NS) {
        return 0;
    }
    return source_send(source, WIRE_KEEPALIVE, NULL, 0, err);
}

/* Receives a header; what can come at any time is dealt with here: 0 when it was that. */
static int receive_header(struct source *source, struct wire_header *ret_header, struct error *err)
{
    int result = stream_receive_header(&source->stream, ret_header, err);
    if (result < 0) {
        return result;
    }
    if (ret_header->type == WIRE_KEEPALIVE) {
        return 0;
    }
    if (ret_header->type == WIRE_ABORT) {
        return stream_receive_abort(&source->stream, ret_header->length, err);
    }
    return 1;
}

static int take_acknowledgement(struct source *source, struct error *err)
{
    uint8_t body[WIRE_ROUND_ACK_SIZE];
    struct wire_round_ack ack;
    int result = stream_receive(&source->stream, body, sizeof(body), err);
    if (result == 0) {
        result = wire_round_ack_decode(body, &ack, err);
    }
    if (result < 0) {
        return result;
    }
    if (source->rounds_acknowledged == source->rounds_ended ||
        ack.number != source->rounds_acknowledged + 1) {
        return error_set(err, EPROTO,
                         "the destination broke the protocol: it acknowledged round %u after %u",
                         ack.number, source->rounds_acknowledged);
    }
    source->rounds_acknowledged = ack.number;
    return 0;
}

int source_poll_peer(struct source *source, struct error *err)
{
    for (;;) {
        struct wire_header header;
        int result = stream_wait(&source->stream, 0, err);
        if (result > 0) {
            result = receive_header(source, &header, err);
            if (result > 0 && header.type == WIRE_ROUND_ACK) {
                result = take_acknowledgement(source, err);
            } else if (result > 0) {
                return stream_unexpected(&source->stream, header.type,
                                         source_state_name(source->state), err);
            }
        } else if (result == 0) {
            return 0;
        }
        if (result < 0) {
            return result;
        }
    }
}

/* When a wait is over although nothing came: when the destination has neither said nor taken
 * anything for so long. Where it is absolute, words that were not waited for do not count. */
struct patience {
    uint64_t limit_ns;
    bool absolute;
    uint64_t since_ns;
    uint64_t queued; /* the least so far */
};

static struct patience patience_begin(const struct source *source, uint64_t limit_ns)
{
    return (struct patience){.limit_ns = limit_ns > 0 ? limit_ns : SOURCE_SILENCE_NS,
                             .absolute = limit_ns > 0,
                             .since_ns = source_now(source),
                             .queued = source_bytes_queued(source)};
}

static int patience_check(const struct source *source, struct patience *patience,
                          enum wire_type type, struct error *err)
{
    uint64_t still_queued = source_bytes_queued(source);
    if (still_queued < patience->queued) {
        patience->queued = still_queued;
        patience->since_ns = source_now(source);
    }
    uint64_t waited_ns = source_now(source) - patience->since_ns;
    if (waited_ns < patience->limit_ns) {
        return 0;
    }
    return error_set(
        err, ETIMEDOUT, "the destination did not answer within %llu s (a %s frame was due)",
        (unsigned long long)(patience->limit_ns / NANOSECONDS_PER_SECOND), wire_type_name(type));
}

/* Waits for the header of a frame of that type. */
static int expect_header(struct source *source, enum wire_type type, uint64_t limit_ns,
                         struct wire_header *ret_header, struct error *err)
{
    struct patience patience = patience_begin(source, limit_ns);
    for (;;) {
        uint64_t now_ns = source_now(source);
        int result = source_check(source, err);
        if (result == 0) {
            result = stream_wait(&source->stream, SOURCE_SLICE_NS, err);
        }
        if (result == 0) {
            source->nothing_came_ns = now_ns;
            result = patience_check(source, &patience, type, err);
            if (result == 0) {
                result = source_keep_alive(source, err);
            }
            source_progress_sample(source);
        } else if (result > 0) {
            result = receive_header(source, ret_header, err);
            if (result > 0) {
                break;
            }
            if (!patience.absolute) {
                patience.since_ns = source_now(source); /* it lives */
            }
        }
        if (result < 0) {
            return result;
        }
    }
    if (ret_header->type != type) {
        return stream_unexpected(&source->stream, ret_header->type,
                                 source_state_name(source->state), err);
    }
    return 0;
}

int source_expect(struct source *source, enum wire_type type, void *body, size_t size,
                  uint64_t limit_ns, struct error *err)
{
    struct wire_header header;
    int result = expect_header(source, type, limit_ns, &header, err);
    if (result < 0) {
        return result;
    }
    if (header.length != size) {
        return error_set(err, EPROTO, "the destination broke the protocol: a %s frame of %u bytes",
                         wire_type_name(type), header.length);
    }
    return stream_receive(&source->stream, body, size, err);
}

int source_await_rounds(struct source *source, struct error *err)
{
    uint64_t limit_ns = source->state == SOURCE_PRECOPY ? 0 : SOURCE_READY_LIMIT_NS;
    while (source->rounds_acknowledged < source->rounds_ended) {
        struct wire_header header;
        int result = expect_header(source, WIRE_ROUND_ACK, limit_ns, &header, err);
        if (result == 0) {
            result = take_acknowledgement(source, err);
        }
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

int source_expect_greeting(struct source *source, uint8_t body[WIRE_GREETING_MOST],
                           uint32_t *ret_length, struct error *err)
{
    struct wire_header header;
    int result = expect_header(source, WIRE_WELCOME, 0, &header, err);
    if (result == 0) {
        result = stream_receive(&source->stream, body, header.length, err);
    }
    if (result == 0) {
        *ret_length = header.length;
    }
    return result;
}

int source_pause(struct source *source, uint64_t duration_ns, struct error *err)
{
    uint64_t end_ns = source_now(source) + duration_ns;
    for (;;) {
        int result = source_check(source, err);
        if (result == 0) {
            result = source_poll_peer(source, err);
        }
        if (result == 0) {
            result = source_keep_alive(source, err);
        }
        uint64_t now_ns = source_now(source);
        if (result < 0 || now_ns >= end_ns) {
            return result;
        }
        uint64_t left_ns = end_ns - now_ns;
        source->clock->sleep_ns(source->clock->clock,
                                left_ns < SOURCE_SLICE_NS ? left_ns : SOURCE_SLICE_NS);
        source_progress_sample(source);
    }
}
