/*
 * Sending one round of pages.
 *
 * Zeroes are told first, then every pending run is walked. Pages that turn out to be zero are taken
 * out on the way: told where the destination has data, left out where it has none. Long runs go as
 * a PAGES frame of their own whose content sendfile(2) takes straight from the RAM file; short ones
 * are gathered, up to WIRE_RUNS_MOST to a frame, and leave in one sendmsg(2) from the mapping.
 */
#include <assert.h>

#include "base/clock.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"
#include "engine/zero.h"

#define SENDFILE_PAGES 32u /* from this length on, sendfile(2) is cheaper than gathering */

static bool batch_is_full(const struct batch *batch)
{
    return batch->run_count == WIRE_RUNS_MOST || batch->pages >= SOURCE_BATCH_PAGES;
}

/* Adds a run, or makes the last one longer. */
static void batch_add(struct batch *batch, struct page_run run)
{
    struct page_run *last = batch->run_count > 0 ? &batch->runs[batch->run_count - 1] : NULL;
    if (last && last->first + last->count == run.first) {
        last->count += run.count;
    } else {
        assert(batch->run_count < WIRE_RUNS_MOST);
        batch->runs[batch->run_count++] = run;
    }
    batch->pages += run.count;
}

static void batch_empty(struct batch *batch)
{
    batch->run_count = 0;
    batch->pages = 0;
}

/* Header, fixed part and table of a PAGES or ZERO frame, into source->table. Returns their length.
 */
static size_t encode_table(struct source *source, enum wire_type type, const struct page_run *runs,
                           uint32_t run_count, uint64_t payload)
{
    uint8_t *at = source->table;
    size_t table_size = WIRE_TABLE_SIZE + (size_t)run_count * WIRE_RUN_SIZE;
    struct wire_header header = {.type = type, .length = (uint32_t)(table_size + payload)};
    wire_header_encode(&header, at);
    wire_table_encode(&(struct wire_table){.run_count = run_count}, at + WIRE_HEADER_SIZE);
    at += WIRE_HEADER_SIZE + WIRE_TABLE_SIZE;
    for (uint32_t i = 0; i < run_count; i++, at += WIRE_RUN_SIZE) {
        struct wire_run run = {.first = runs[i].first, .count = (uint32_t)runs[i].count};
        wire_run_encode(&run, at);
    }
    return WIRE_HEADER_SIZE + table_size;
}

/* With a bandwidth limit, waits until the round is no further than it may be. A stopped guest is
 * not made to wait for a limit. */
static int pace(struct source *source, struct error *err)
{
    uint64_t limit = source->options->bandwidth_limit;
    if (limit == 0 || source->state != SOURCE_PRECOPY) {
        return 0;
    }
    uint64_t bytes = source->stream.bytes_sent - source->round_bytes_before;
    double due_ns = (double)bytes * NANOSECONDS_PER_SECOND / (double)limit;
    uint64_t spent_ns = source_now(source) - source->round_began_ns;
    return due_ns > (double)spent_ns ? source_pause(source, (uint64_t)due_ns - spent_ns, err) : 0;
}

/* Between two sends: cancelled? told to stop? too fast? */
static int look_around(struct source *source, struct error *err)
{
    source->last_sent_ns = source_now(source);
    source_progress_sample(source);
    int result = source_check(source, err);
    if (result == 0) {
        result = source_poll_peer(source, err);
    }
    return result < 0 ? result : pace(source, err);
}

/* One PAGES frame for one long run. */
static int send_long_run(struct source *source, struct page_run run, struct error *err)
{
    uint64_t bytes = run.count * ENGINE_PAGE_SIZE;
    struct iovec table = {source->table, encode_table(source, WIRE_PAGES, &run, 1, bytes)};
    int result = stream_send_pieces(&source->stream, &table, 1, true, err);
    if (result == 0) {
        result = stream_send_file(&source->stream, source->guest->memory_fd,
                                  run.first * ENGINE_PAGE_SIZE, bytes, false, err);
    }
    if (result < 0) {
        return result;
    }
    page_set_add(&source->delivered, run);
    source->round.pages_sent += run.count;
    return look_around(source, err);
}

/* One PAGES frame for what was gathered. */
static int flush_data(struct source *source, struct error *err)
{
    struct batch *batch = &source->data;
    if (batch->run_count == 0) {
        return 0;
    }
    struct iovec pieces[1 + WIRE_RUNS_MOST];
    pieces[0].iov_base = source->table;
    pieces[0].iov_len = encode_table(source, WIRE_PAGES, batch->runs, batch->run_count,
                                     batch->pages * ENGINE_PAGE_SIZE);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        const struct page_run *run = &batch->runs[i];
        pieces[1 + i].iov_base = (void *)(source->guest->memory + run->first * ENGINE_PAGE_SIZE);
        pieces[1 + i].iov_len = run->count * ENGINE_PAGE_SIZE;
        page_set_add(&source->delivered, *run);
    }
    int result = stream_send_pieces(&source->stream, pieces, (int)batch->run_count + 1, false, err);
    if (result < 0) {
        return result;
    }
    source->round.pages_sent += batch->pages;
    batch_empty(batch);
    return look_around(source, err);
}

/* One ZERO frame. */
static int flush_zero(struct source *source, struct error *err)
{
    struct batch *batch = &source->zero;
    if (batch->run_count == 0) {
        return 0;
    }
    struct iovec table = {source->table,
                          encode_table(source, WIRE_ZERO, batch->runs, batch->run_count, 0)};
    int result = stream_send_pieces(&source->stream, &table, 1, false, err);
    if (result < 0) {
        return result;
    }
    for (uint32_t i = 0; i < batch->run_count; i++) {
        page_set_remove(&source->delivered, batch->runs[i]);
    }
    source->round.pages_zero += batch->pages;
    batch_empty(batch);
    return look_around(source, err);
}

static int add_data(struct source *source, struct page_run run, struct error *err)
{
    if (run.count >= SENDFILE_PAGES) {
        return send_long_run(source, run, err);
    }
    batch_add(&source->data, run);
    return batch_is_full(&source->data) ? flush_data(source, err) : 0;
}

/* A page found to be zero: news for the destination only where it has data. */
static int add_zero(struct source *source, uint64_t page, struct error *err)
{
    if (!page_set_has(&source->delivered, page)) {
        source->round.pages_zero++;
        return 0;
    }
    batch_add(&source->zero, (struct page_run){.first = page, .count = 1});
    return batch_is_full(&source->zero) ? flush_zero(source, err) : 0;
}

/* How many pages from `first` on, below `end`, hold data. */
static uint64_t data_length(const struct source *source, uint64_t first, uint64_t end)
{
    uint64_t page = first;
    while (page < end && !zero_page(source->guest->memory + page * ENGINE_PAGE_SIZE)) {
        page++;
    }
    return page - first;
}

static int send_run(struct source *source, struct page_run run, struct error *err)
{
    uint64_t end = run.first + run.count;
    for (uint64_t page = run.first; page < end;) {
        uint64_t count = data_length(source, page, end);
        int result = count > 0 ? add_data(source, (struct page_run){page, count}, err)
                               : add_zero(source, page, err);
        if (result < 0) {
            return result;
        }
        page += count > 0 ? count : 1;
    }
    return 0;
}

static int send_dropped(struct source *source, struct error *err)
{
    struct page_run run;
    for (uint64_t page = 0; page_set_next_run(&source->dropped, page, UINT32_MAX, &run);
         page = run.first + run.count) {
        batch_add(&source->zero, run);
        int result = batch_is_full(&source->zero) ? flush_zero(source, err) : 0;
        if (result < 0) {
            return result;
        }
    }
    page_set_clear(&source->dropped);
    return flush_zero(source, err); /* tables ascend: what follows begins at page 0 again */
}

/* A batch at a time no longer than a twentieth of a second under a bandwidth limit. */
static uint64_t batch_pages(const struct source *source)
{
    uint64_t limit = source->options->bandwidth_limit;
    uint64_t pages = limit / 20 / ENGINE_PAGE_SIZE;
    if (limit == 0 || pages > SOURCE_BATCH_PAGES) {
        return SOURCE_BATCH_PAGES;
    }
    return pages > 0 ? pages : 1;
}

/* What is about to be sent belongs to the round. */
static void extend_round(struct source *source)
{
    source->round.pages_to_send +=
        page_set_count(&source->pending) + page_set_count(&source->dropped);
    source->round.pages_dirtied = 0;
}

int source_send_pages(struct source *source, struct error *err)
{
    extend_round(source);
    int result = send_dropped(source, err);
    struct page_run run;
    for (uint64_t page = 0;
         result == 0 && page_set_next_run(&source->pending, page, batch_pages(source), &run);
         page = run.first + run.count) {
        result = send_run(source, run, err);
    }
    if (result == 0) {
        result = flush_data(source, err);
    }
    if (result == 0) {
        result = flush_zero(source, err);
    }
    if (result == 0) {
        page_set_clear(&source->pending);
    }
    return result;
}

void source_begin_round(struct source *source)
{
    source_round_open(source);
    source_rate_resume(source);
    batch_empty(&source->data);
    batch_empty(&source->zero);
}

int source_end_round(struct source *source, struct error *err)
{
    uint8_t body[WIRE_ROUND_END_SIZE];
    wire_round_end_encode(&(struct wire_round_end){.number = source->round.number}, body);
    int result = source_send(source, WIRE_ROUND_END, body, sizeof(body), err);
    source->round.bytes_sent = source->stream.bytes_sent - source->round_bytes_before;
    return result;
}

int source_await_round(struct source *source, struct error *err)
{
    uint8_t body[WIRE_ROUND_ACK_SIZE];
    struct wire_round_ack ack;
    uint64_t limit_ns = source->state == SOURCE_PRECOPY ? 0 : SOURCE_READY_LIMIT_NS;
    int result = source_expect(source, WIRE_ROUND_ACK, body, sizeof(body), limit_ns, err);
    if (result == 0) {
        result = wire_round_ack_decode(body, &ack, err);
    }
    if (result < 0) {
        return result;
    }
    if (ack.number != source->round.number) {
        return error_set(err, EPROTO,
                         "the destination broke the protocol: it acknowledged round %u, not %u",
                         ack.number, source->round.number);
    }
    return 0;
}
