/*
 * Sending pages over one connection: see lane_sender.h.
 *
 * Every run is walked for zero pages: told where the destination has data, left out where it has
 * none. Long runs go as a PAGES frame of their own whose content sendfile(2) takes straight from
 * the RAM file; short ones are gathered, up to WIRE_RUNS_MOST to a frame, and leave in one
 * sendmsg(2) from the mapping.
 */
#include "engine/lane_sender.h"

#include "engine/zero.h"

#define SENDFILE_PAGES 32u /* from this length on, sendfile(2) is cheaper than gathering */
#define GATHER_PAGES 512u  /* at most so many pages (2 MiB) in one frame of gathered runs */

int lane_sender_init(struct lane_sender *lane, struct stream *stream,
                     const struct engine_source_guest *guest, struct page_set *delivered,
                     bool alone, struct error *err)
{
    *lane = (struct lane_sender){
        .stream = stream, .guest = guest, .delivered = delivered, .alone = alone};
    if (!alone && (page_set_init(&lane->sent, delivered->pages) < 0 ||
                   page_set_init(&lane->zeroed, delivered->pages) < 0)) {
        lane_sender_done(lane);
        return error_set(err, ENOMEM, "no memory to keep track of the pages sent");
    }
    return 0;
}

void lane_sender_done(struct lane_sender *lane)
{
    page_set_done(&lane->sent);
    page_set_done(&lane->zeroed);
}

static void note_sent(struct lane_sender *lane, struct page_run run)
{
    if (lane->alone) {
        page_set_add(lane->delivered, run);
    } else {
        page_set_add(&lane->sent, run);
        page_set_remove(&lane->zeroed, run);
    }
}

static void note_zeroed(struct lane_sender *lane, struct page_run run)
{
    if (lane->alone) {
        page_set_remove(lane->delivered, run);
    } else {
        page_set_remove(&lane->sent, run);
        page_set_add(&lane->zeroed, run);
    }
}

/* Whether the destination has data of that page. */
static bool is_delivered(const struct lane_sender *lane, uint64_t page)
{
    if (lane->alone) {
        return page_set_has(lane->delivered, page);
    }
    return page_set_has(&lane->sent, page) ||
           (page_set_has(lane->delivered, page) && !page_set_has(&lane->zeroed, page));
}

/* Header, fixed part and table of a frame, into lane->table. Returns their length. */
static size_t encode_table(struct lane_sender *lane, enum wire_type type,
                           const struct page_run *runs, uint32_t run_count, uint64_t payload)
{
    uint8_t *at = lane->table;
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

static void count_sent(struct lane_sender *lane, uint64_t pages)
{
    lane->figures.pages_sent += pages;
    lane->figures.content_bytes += pages * ENGINE_PAGE_SIZE;
}

/* One PAGES frame for one long run. */
static int send_long_run(struct lane_sender *lane, struct page_run run, struct error *err)
{
    uint64_t bytes = run.count * ENGINE_PAGE_SIZE;
    struct iovec table = {lane->table, encode_table(lane, WIRE_PAGES, &run, 1, bytes)};
    int result = stream_send_pieces(lane->stream, &table, 1, true, err);
    if (result == 0) {
        result = stream_send_file(lane->stream, lane->guest->memory_fd,
                                  run.first * ENGINE_PAGE_SIZE, bytes, false, err);
    }
    if (result < 0) {
        return result;
    }
    note_sent(lane, run);
    count_sent(lane, run.count);
    return 0;
}

/* One PAGES frame for what was gathered. */
static int flush_data(struct lane_sender *lane, struct error *err)
{
    struct page_batch *batch = &lane->data;
    if (batch->run_count == 0) {
        return 0;
    }
    struct iovec pieces[1 + WIRE_RUNS_MOST];
    pieces[0].iov_base = lane->table;
    pieces[0].iov_len = encode_table(lane, WIRE_PAGES, batch->runs, batch->run_count,
                                     batch->pages * ENGINE_PAGE_SIZE);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        const struct page_run *run = &batch->runs[i];
        pieces[1 + i].iov_base = (void *)(lane->guest->memory + run->first * ENGINE_PAGE_SIZE);
        pieces[1 + i].iov_len = run->count * ENGINE_PAGE_SIZE;
        note_sent(lane, *run);
    }
    int result = stream_send_pieces(lane->stream, pieces, (int)batch->run_count + 1, false, err);
    if (result < 0) {
        return result;
    }
    count_sent(lane, batch->pages);
    page_batch_empty(batch);
    return 0;
}

int lane_sender_tell_zero(struct lane_sender *lane, const struct page_batch *batch,
                          struct error *err)
{
    if (batch->run_count == 0) {
        return 0;
    }
    struct iovec table = {lane->table,
                          encode_table(lane, WIRE_ZERO, batch->runs, batch->run_count, 0)};
    int result = stream_send_pieces(lane->stream, &table, 1, false, err);
    if (result < 0) {
        return result;
    }
    for (uint32_t i = 0; i < batch->run_count; i++) {
        note_zeroed(lane, batch->runs[i]);
    }
    lane->figures.pages_zero += batch->pages;
    return 0;
}

static int flush_zero(struct lane_sender *lane, struct error *err)
{
    int result = lane_sender_tell_zero(lane, &lane->zero, err);
    page_batch_empty(&lane->zero);
    return result;
}

static int add_data(struct lane_sender *lane, struct page_run run, struct error *err)
{
    if (run.count >= SENDFILE_PAGES) {
        return send_long_run(lane, run, err);
    }
    page_batch_add(&lane->data, run);
    return page_batch_is_full(&lane->data, GATHER_PAGES) ? flush_data(lane, err) : 0;
}

/* A page found to be zero: news for the destination only where it has data. */
static int add_zero(struct lane_sender *lane, uint64_t page, struct error *err)
{
    if (!is_delivered(lane, page)) {
        lane->figures.pages_zero++;
        return 0;
    }
    page_batch_add(&lane->zero, (struct page_run){.first = page, .count = 1});
    return page_batch_is_full(&lane->zero, UINT64_MAX) ? flush_zero(lane, err) : 0;
}

/* How many pages from `first` on, below `end`, hold data. */
static uint64_t data_length(const struct lane_sender *lane, uint64_t first, uint64_t end)
{
    uint64_t page = first;
    while (page < end && !zero_page(lane->guest->memory + page * ENGINE_PAGE_SIZE)) {
        page++;
    }
    return page - first;
}

static int send_run(struct lane_sender *lane, struct page_run run, struct error *err)
{
    uint64_t end = run.first + run.count;
    for (uint64_t page = run.first; page < end;) {
        uint64_t count = data_length(lane, page, end);
        int result = count > 0 ? add_data(lane, (struct page_run){page, count}, err)
                               : add_zero(lane, page, err);
        if (result < 0) {
            return result;
        }
        page += count > 0 ? count : 1;
    }
    return 0;
}

int lane_sender_send(struct lane_sender *lane, const struct page_batch *batch, struct error *err)
{
    int result = 0;
    for (uint32_t i = 0; i < batch->run_count && result == 0; i++) {
        result = send_run(lane, batch->runs[i], err);
    }
    if (result == 0) {
        result = flush_data(lane, err);
    }
    return result < 0 ? result : flush_zero(lane, err);
}

int lane_sender_end_round(struct lane_sender *lane, uint32_t number, unsigned channels,
                          struct error *err)
{
    uint8_t body[WIRE_ROUND_END_SIZE];
    struct wire_round_end end = {.number = number, .channels = (uint16_t)channels};
    wire_round_end_encode(&end, body);
    return stream_send(lane->stream, WIRE_ROUND_END, body, sizeof(body), err);
}

void lane_sender_settle(struct lane_sender *lane, struct lane_figures *sum)
{
    sum->pages_sent += lane->figures.pages_sent;
    sum->pages_zero += lane->figures.pages_zero;
    sum->content_bytes += lane->figures.content_bytes;
    lane->figures = (struct lane_figures){0};
    if (!lane->alone) {
        page_set_subtract(lane->delivered, &lane->zeroed);
        page_set_unite(lane->delivered, &lane->sent);
        page_set_clear(&lane->zeroed);
        page_set_clear(&lane->sent);
    }
}
