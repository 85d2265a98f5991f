/*
 * Sending one round of pages.
 *
 * Zeroes are told first, then all that is pending is walked, stretch by stretch: what was written
 * in a stretch by the time its turn comes goes with it, and need not be sent in the next round.
 * Where there is much to send they go to the further connections, whichever is free; else, and
 * always for the last few pages of a stopped guest, they go over channel 0 at once. A page is in
 * one batch of a round only, and the destination acknowledges a round when all of its parts are
 * there, so no order is needed between the connections.
 */
#include <assert.h>

#include "base/clock.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

#define STRETCH_PAGES_LEAST 16u
#define STRETCH_PAGES_MOST 65536u
#define STRETCH_PAGES_UNKNOWN 1024u /* before the rate is known */
#define SHARE_FROM_BYTES (1u << 20)

uint64_t source_bytes_sent(const struct source *source)
{
    const struct engine_lanes *lanes = source->lanes;
    uint64_t others = lanes ? lanes->operations->bytes_sent(lanes->lanes) : 0;
    return source->stream.bytes_sent + others;
}

uint64_t source_bytes_queued(const struct source *source)
{
    const struct engine_channel *channel = source->stream.channel;
    const struct engine_lanes *lanes = source->lanes;
    uint64_t others = lanes ? lanes->operations->bytes_queued(lanes->lanes) : 0;
    return channel->operations->queued(channel->channel) + others;
}

/* What was sent is the round's. */
static void note_figures(struct source *source, const struct lane_figures *figures)
{
    source->round.pages_sent += figures->pages_sent;
    source->round.pages_zero += figures->pages_zero;
    source->figures.content_bytes += figures->content_bytes;
    for (unsigned method = 0; method < PACK_METHODS; method++) {
        source->figures.pages_packed[method] += figures->pages_packed[method];
    }
}

static void settle_lane(struct source *source)
{
    struct lane_figures figures = {0};
    lane_sender_settle(&source->lane, &figures);
    note_figures(source, &figures);
}

/* With a bandwidth limit, waits until the round is no further than it may be. A stopped guest is
 * not made to wait for a limit. */
static int keep_limit(struct source *source, struct error *err)
{
    uint64_t limit = source->options->bandwidth_limit;
    if (limit == 0 || source->state != SOURCE_PRECOPY) {
        return 0;
    }
    uint64_t bytes = source_bytes_sent(source) - source->round_bytes_before;
    double due_ns = (double)bytes * NANOSECONDS_PER_SECOND / (double)limit;
    uint64_t spent_ns = source_now(source) - source->round_began_ns;
    return due_ns > (double)spent_ns ? source_pause(source, (uint64_t)due_ns - spent_ns, err) : 0;
}

/* Between two sends: cancelled? told to stop? too fast? */
static int look_around(struct source *source, struct error *err)
{
    source_progress_sample(source);
    int result = source_check(source, err);
    if (result == 0) {
        result = source_poll_peer(source, err);
    }
    return result < 0 ? result : keep_limit(source, err);
}

static int send_here(struct source *source, struct error *err)
{
    int result = lane_sender_send(&source->lane, &source->batch, err);
    source->last_sent_ns = source_now(source);
    settle_lane(source);
    return result;
}

/* The lanes keep channel 0 waiting: the destination shall not take that for silence. */
static int send_on_lanes(struct source *source, struct error *err)
{
    const struct engine_lanes *lanes = source->lanes;
    for (;;) {
        int result = lanes->operations->submit(lanes->lanes, &source->batch, SOURCE_SLICE_NS, err);
        if (result != 0) {
            return result < 0 ? result : source_keep_alive(source, err);
        }
        result = look_around(source, err);
        if (result == 0) {
            result = source_keep_alive(source, err);
        }
        if (result < 0) {
            return result;
        }
    }
}

static int send_batch(struct source *source, struct error *err)
{
    if (source->batch.run_count == 0) {
        return 0;
    }
    int result = source->on_lanes ? send_on_lanes(source, err) : send_here(source, err);
    page_batch_empty(&source->batch);
    return result < 0 ? result : look_around(source, err);
}

static int send_dropped(struct source *source, struct error *err)
{
    struct page_run run;
    struct page_batch *batch = &source->batch;
    int result = 0;
    for (uint64_t page = 0;
         result == 0 && page_set_next_run(&source->dropped, page, UINT32_MAX, &run);
         page = run.first + run.count) {
        page_batch_add(batch, run);
        if (page_batch_is_full(batch, UINT64_MAX)) {
            result = lane_sender_tell_zero(&source->lane, batch, err);
            page_batch_empty(batch);
        }
    }
    if (result == 0) {
        result = lane_sender_tell_zero(&source->lane, batch, err);
    }
    page_batch_empty(batch);
    settle_lane(source);
    page_set_unite(&source->told_zero, &source->dropped);
    page_set_clear(&source->dropped);
    return result < 0 ? result : look_around(source, err);
}

/* A batch at a time no longer than a twentieth of a second under a bandwidth limit. */
static uint64_t batch_pages(const struct source *source)
{
    uint64_t most = source->on_lanes ? source->lanes->batch_pages : SOURCE_BATCH_PAGES;
    uint64_t limit = source->options->bandwidth_limit;
    uint64_t pages = limit / 20 / ENGINE_PAGE_SIZE;
    if (limit == 0 || pages > most) {
        return most;
    }
    return pages > 0 ? pages : 1;
}

/* The next batch of what is pending from `page` on, below `end`; returns where it ends. */
static uint64_t fill_batch(struct source *source, uint64_t page, uint64_t end, uint64_t most)
{
    struct page_batch *batch = &source->batch;
    struct page_run run;
    while (!page_batch_is_full(batch, most) &&
           page_set_next_run_within(&source->pending, (struct page_run){page, end - page},
                                    most - batch->pages, &run)) {
        page_batch_add(batch, run);
        page = run.first + run.count;
    }
    return page;
}

/* Whether pages of this round may be on their way already: of the last one, which is sent in
 * several passes. Those that follow go over channel 0 alone, for only there nothing overtakes them.
 */
static bool is_further_pass(const struct source *source)
{
    return source->state == SOURCE_STOPPING || source->state == SOURCE_SAVING ||
           (source->state == SOURCE_LAST_PASS &&
            source->round.pages_sent + source->round.pages_zero > 0);
}

/* What is about to be sent belongs to the round. */
static void extend_round(struct source *source)
{
    uint64_t pages = page_set_count(&source->pending);
    source->round.pages_to_send += pages + page_set_count(&source->dropped);
    source->round.pages_dirtied = 0;
    source->on_lanes =
        source->lanes && pages >= source->lanes->worth_pages && !is_further_pass(source);
}

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* How many pages to send between two collections: an eighth of the round, but no more than a tenth
 * of a second's, and no less than is worth the time of a collection. */
static uint64_t stretch_pages(const struct source *source, uint64_t round_pages)
{
    double rate = (double)source_content_rate(source) / ENGINE_PAGE_SIZE;
    if (rate <= 0) {
        return STRETCH_PAGES_UNKNOWN;
    }
    uint64_t worth =
        (uint64_t)(rate * 2 * (double)source->collect_took_ns / NANOSECONDS_PER_SECOND);
    uint64_t most = clamp((uint64_t)(rate / 10), STRETCH_PAGES_LEAST, STRETCH_PAGES_MOST);
    return clamp(round_pages / 8, clamp(worth, STRETCH_PAGES_LEAST, most), most);
}

/* Sends what is pending in a stretch. */
static int send_stretch(struct source *source, struct page_run stretch, struct error *err)
{
    uint64_t most = batch_pages(source);
    uint64_t page = stretch.first, end = stretch.first + stretch.count;
    int result = 0;
    while (result == 0) {
        page = fill_batch(source, page, end, most);
        if (source->batch.run_count == 0) {
            break;
        }
        result = send_batch(source, err);
    }
    page_set_remove(&source->pending, stretch);
    return result;
}

/* Time is up: the rest is the last pass's. */
static bool is_cut_short(const struct source *source)
{
    return source->time_is_up && source->state == SOURCE_PRECOPY;
}

int source_send_pages(struct source *source, struct error *err)
{
    extend_round(source);
    int result = send_dropped(source, err);
    uint64_t pages = source->round.pages_to_send;
    struct page_run stretch = {0, 0};
    while (result == 0 && stretch.first < source->pending.pages && !is_cut_short(source)) {
        stretch.count =
            page_set_span(&source->pending, stretch.first, stretch_pages(source, pages));
        if (stretch.first > 0 && source->state == SOURCE_PRECOPY) { /* the first one just was */
            result = source_collect_run(source, stretch, err);
        }
        if (result == 0) {
            result = send_stretch(source, stretch, err);
        }
        stretch.first += stretch.count;
    }
    if (result == 0) { /* cut short: these are of the next round */
        source->round.pages_to_send -= page_set_count(&source->pending);
    }
    page_set_unite(&source->pending, &source->held);
    page_set_clear(&source->held);
    return result;
}

void source_begin_round(struct source *source)
{
    source_round_open(source);
    source_rate_resume(source);
    lane_sender_resume(&source->lane);
    source->on_lanes = false;
    page_batch_empty(&source->batch);
    page_set_clear(&source->told_zero);
}

/* The lanes send what they have, and say that it is all. */
static int end_on_lanes(struct source *source, unsigned *ret_lanes, struct error *err)
{
    const struct engine_lanes *lanes = source->lanes;
    struct lane_figures figures = {0};
    int result;
    while ((result = lanes->operations->end_round(lanes->lanes, source->round.number,
                                                  SOURCE_SLICE_NS, ret_lanes, err)) == 0) {
        result = look_around(source, err);
        if (result == 0) {
            result = source_keep_alive(source, err);
        }
        if (result < 0) {
            return result;
        }
    }
    if (result < 0) {
        return result;
    }
    lanes->operations->settle(lanes->lanes, &figures);
    note_figures(source, &figures);
    if (*ret_lanes + 1 > source->statistics->channels) {
        source->statistics->channels = *ret_lanes + 1;
    }
    return keep_limit(source, err); /* all of the round's bytes are known only now */
}

/* What packing makes of pages, for the predictions: from rounds that are large enough to tell. */
static void note_wire_share(struct source *source)
{
    double content = (double)source->round.pages_sent * ENGINE_PAGE_SIZE;
    if (content >= SHARE_FROM_BYTES) {
        double share = (double)source->round.bytes_sent / content;
        source->wire_share = share < 1 ? share : 1;
    }
}

int source_end_round(struct source *source, struct error *err)
{
    unsigned lanes = 0;
    int result = source->on_lanes ? end_on_lanes(source, &lanes, err) : 0;
    if (result == 0) {
        result = lane_sender_end_round(&source->lane, source->round.number, lanes, err);
    }
    source->rounds_ended = source->round.number;
    source->last_sent_ns = source_now(source);
    source->round.bytes_sent = source_bytes_sent(source) - source->round_bytes_before;
    note_wire_share(source);
    return result;
}
