/*
 * Sending pages over one connection: see lane_sender.h.
 *
 * Every run is walked for zero pages: told where the destination has data, left out where it has
 * none. Where packing pays, content goes in PACKED frames, a chunk each. Else long runs go as a
 * PAGES frame of their own whose content sendfile(2) takes straight from the RAM file (unless the
 * channel encrypts); short ones are gathered, up to WIRE_RUNS_MOST to a frame, and leave in one
 * sendmsg(2) from the mapping.
 */
#include "engine/lane_sender.h"

#include <errno.h>

#include "engine/zero.h"

#define SENDFILE_PAGES 32u /* from this length on, sendfile(2) is cheaper than gathering */
#define GATHER_PAGES 512u  /* at most so many pages (2 MiB) in one frame of gathered runs */

static int init_sets(struct lane_sender *lane, uint64_t pages, struct error *err)
{
    if (!lane->alone &&
        (page_set_init(&lane->sent, pages) < 0 || page_set_init(&lane->zeroed, pages) < 0)) {
        return error_set(err, ENOMEM, "no memory to keep track of the pages sent");
    }
    return 0;
}

int lane_sender_init(struct lane_sender *lane, struct stream *stream,
                     const struct lane_terms *terms, bool alone, struct error *err)
{
    *lane = (struct lane_sender){
        .stream = stream, .guest = terms->guest, .delivered = terms->delivered, .alone = alone};
    int result = init_sets(lane, terms->delivered->pages, err);
    if (result == 0 && terms->compress) {
        result = pack_lane_init(&lane->pack, terms->cache, terms->clock, err);
        lane->packs = result == 0;
    }
    if (result < 0) {
        lane_sender_done(lane);
    }
    return result;
}

void lane_sender_done(struct lane_sender *lane)
{
    page_set_done(&lane->sent);
    page_set_done(&lane->zeroed);
    if (lane->packs) {
        pack_lane_done(&lane->pack);
        lane->packs = false;
    }
}

/* Bytes in the socket: not sent, or not acknowledged. */
static uint64_t bytes_queued(const struct lane_sender *lane)
{
    const struct engine_channel *channel = lane->stream->channel;
    return channel->operations->queued(channel->channel);
}

void lane_sender_resume(struct lane_sender *lane)
{
    if (lane->packs) {
        pack_lane_resume(&lane->pack, bytes_queued(lane));
    }
}

void lane_sender_set_idle(struct lane_sender *lane, double idle)
{
    if (lane->packs) {
        pack_lane_set_idle(&lane->pack, idle);
    }
}

static void note_sent(struct lane_sender *lane, struct page_run run)
{
    if (lane->alone) {
        page_set_add(lane->delivered, run);
    } else {
        page_set_add(&lane->sent, run);
        page_set_remove(&lane->zeroed, run);
        lane->changed = true;
    }
}

static void note_zeroed(struct lane_sender *lane, struct page_run run)
{
    if (lane->alone) {
        page_set_remove(lane->delivered, run);
    } else {
        page_set_remove(&lane->sent, run);
        page_set_add(&lane->zeroed, run);
        lane->changed = true;
    }
    if (lane->packs) {
        pack_lane_sent_zero(&lane->pack, &run, 1);
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
static size_t encode_table(struct lane_sender *lane, enum wire_type type, enum pack_method method,
                           const struct page_run *runs, uint32_t run_count, uint64_t payload)
{
    uint8_t *at = lane->table;
    size_t table_size = WIRE_TABLE_SIZE + (size_t)run_count * WIRE_RUN_SIZE;
    struct wire_header header = {.type = type, .length = (uint32_t)(table_size + payload)};
    struct wire_table table = {.run_count = run_count, .method = (uint16_t)method};
    wire_header_encode(&header, at);
    wire_table_encode(&table, at + WIRE_HEADER_SIZE);
    at += WIRE_HEADER_SIZE + WIRE_TABLE_SIZE;
    for (uint32_t i = 0; i < run_count; i++, at += WIRE_RUN_SIZE) {
        struct wire_run run = {.first = runs[i].first, .count = (uint32_t)runs[i].count};
        wire_run_encode(&run, at);
    }
    return WIRE_HEADER_SIZE + table_size;
}

/* The runs are on their way as data. */
static void note_runs(struct lane_sender *lane, enum pack_method method,
                      const struct page_run *runs, uint32_t run_count)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        note_sent(lane, runs[i]);
        pages += runs[i].count;
    }
    lane->figures.pages_sent += pages;
    lane->figures.pages_packed[method] += pages;
    lane->figures.content_bytes += pages * ENGINE_PAGE_SIZE;
}

static void note_plain(struct lane_sender *lane, const struct page_run *runs, uint32_t run_count)
{
    note_runs(lane, PACK_NONE, runs, run_count);
    if (lane->packs) {
        pack_lane_sent_plain(&lane->pack, runs, run_count, bytes_queued(lane));
    }
}

/* From the RAM file where the channel can, else out of the mapping. */
static int send_content(struct lane_sender *lane, struct page_run run, struct error *err)
{
    const struct engine_source_guest *guest = lane->guest;
    uint64_t offset = run.first * ENGINE_PAGE_SIZE, bytes = run.count * ENGINE_PAGE_SIZE;
    if (lane->stream->channel->operations->send_file) {
        return stream_send_file(lane->stream, guest->memory_fd, offset, bytes, false, err);
    }
    struct iovec content = {(void *)(guest->memory + offset), bytes};
    return stream_send_pieces(lane->stream, &content, 1, false, err);
}

/* One PAGES frame for one long run. */
static int send_long_run(struct lane_sender *lane, struct page_run run, struct error *err)
{
    uint64_t bytes = run.count * ENGINE_PAGE_SIZE;
    struct iovec table = {lane->table, encode_table(lane, WIRE_PAGES, PACK_NONE, &run, 1, bytes)};
    int result = stream_send_pieces(lane->stream, &table, 1, true, err);
    if (result == 0) {
        result = send_content(lane, run, err);
    }
    if (result == 0) {
        note_plain(lane, &run, 1);
    }
    return result;
}

/* One PAGES frame for what was gathered, out of the guest's memory. */
static int send_gathered(struct lane_sender *lane, struct error *err)
{
    const struct page_batch *batch = &lane->data;
    struct iovec pieces[1 + WIRE_RUNS_MOST];
    pieces[0].iov_base = lane->table;
    pieces[0].iov_len = encode_table(lane, WIRE_PAGES, PACK_NONE, batch->runs, batch->run_count,
                                     batch->pages * ENGINE_PAGE_SIZE);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        const struct page_run *run = &batch->runs[i];
        pieces[1 + i].iov_base = (void *)(lane->guest->memory + run->first * ENGINE_PAGE_SIZE);
        pieces[1 + i].iov_len = run->count * ENGINE_PAGE_SIZE;
    }
    return stream_send_pieces(lane->stream, pieces, (int)batch->run_count + 1, false, err);
}

/* One PACKED frame for it, or a PAGES frame with the copy that was taken to be packed. */
static int send_chunk(struct lane_sender *lane, const struct pack_chunk *chunk, struct error *err)
{
    const struct page_batch *batch = &lane->data;
    if (!chunk->bytes) {
        return send_gathered(lane, err);
    }
    enum wire_type type = chunk->method == PACK_NONE ? WIRE_PAGES : WIRE_PACKED;
    struct iovec pieces[] = {{lane->table, encode_table(lane, type, chunk->method, batch->runs,
                                                        batch->run_count, chunk->length)},
                             {(void *)chunk->bytes, chunk->length}};
    return stream_send_pieces(lane->stream, pieces, 2, false, err);
}

static bool wants_packing(const struct lane_sender *lane)
{
    return lane->packs && pack_lane_wants(&lane->pack);
}

static int pack_and_send(struct lane_sender *lane, struct error *err)
{
    const struct page_batch *batch = &lane->data;
    struct pack_chunk chunk;
    pack_lane_pack(&lane->pack, lane->guest->memory, batch->runs, batch->run_count, &chunk);
    int result = send_chunk(lane, &chunk, err);
    if (result == 0) {
        note_runs(lane, chunk.method, batch->runs, batch->run_count);
        pack_lane_sent(&lane->pack, &chunk, bytes_queued(lane));
    }
    return result;
}

/* What was gathered leaves. */
static int flush_data(struct lane_sender *lane, struct error *err)
{
    const struct page_batch *batch = &lane->data;
    int result = 0;
    if (batch->run_count > 0 && batch->pages <= PACK_CHUNK_PAGES && wants_packing(lane)) {
        result = pack_and_send(lane, err);
    } else if (batch->run_count > 0) {
        result = send_gathered(lane, err);
        if (result == 0) {
            note_plain(lane, batch->runs, batch->run_count);
        }
    }
    page_batch_empty(&lane->data);
    return result;
}

int lane_sender_tell_zero(struct lane_sender *lane, const struct page_batch *batch,
                          struct error *err)
{
    if (batch->run_count == 0) {
        return 0;
    }
    struct iovec table = {
        lane->table, encode_table(lane, WIRE_ZERO, PACK_NONE, batch->runs, batch->run_count, 0)};
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

/* Gathers the run, at most `most` pages to a frame. */
static int gather(struct lane_sender *lane, struct page_run run, uint64_t most, struct error *err)
{
    while (run.count > 0) {
        int result = page_batch_is_full(&lane->data, most) ? flush_data(lane, err) : 0;
        if (result < 0) {
            return result;
        }
        uint64_t room = most - lane->data.pages;
        uint64_t part = run.count < room ? run.count : room;
        page_batch_add(&lane->data, (struct page_run){run.first, part});
        run.first += part;
        run.count -= part;
    }
    return 0;
}

static int add_data(struct lane_sender *lane, struct page_run run, struct error *err)
{
    if (wants_packing(lane)) {
        return gather(lane, run, PACK_CHUNK_PAGES, err);
    }
    return run.count >= SENDFILE_PAGES ? send_long_run(lane, run, err)
                                       : gather(lane, run, GATHER_PAGES, err);
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
    for (unsigned method = 0; method < PACK_METHODS; method++) {
        sum->pages_packed[method] += lane->figures.pages_packed[method];
    }
    lane->figures = (struct lane_figures){0};
    if (lane->changed) {
        page_set_subtract(lane->delivered, &lane->zeroed);
        page_set_unite(lane->delivered, &lane->sent);
        page_set_clear(&lane->zeroed);
        page_set_clear(&lane->sent);
        lane->changed = false;
    }
}
