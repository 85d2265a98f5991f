/*
 * Receiving pages over one connection: see lane_receiver.h.
 *
 * Content is received straight into the mapping, all runs of a frame in one call. A page that was
 * never received is a hole and stays one: it is not even read, for touching a hole allocates it,
 * and where no memory is left that is a SIGBUS, while recvmsg(2) into a hole fails with EFAULT.
 */
#include "engine/lane_receiver.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"

_Static_assert(PACK_CHUNK_PAGES == WIRE_PACKED_PAGES_MOST, "one size of a packed chunk");

#define PUNCH_PAGES 64u /* a run of zeroes from this length on is given back, not overwritten */

int lane_receiver_init(struct lane_receiver *lane, struct stream *stream,
                       const struct engine_destination_guest *guest,
                       const struct page_set *received, struct error *err)
{
    *lane = (struct lane_receiver){
        .stream = stream, .guest = guest, .received = received, .body = malloc(WIRE_TABLE_MOST)};
    if (!lane->body || page_set_init(&lane->arrived, received->pages) < 0 ||
        page_set_init(&lane->zeroed, received->pages) < 0) {
        lane_receiver_done(lane);
        return error_set(err, ENOMEM, "no memory to keep track of the pages received");
    }
    int result = unpacker_init(&lane->unpacker, err);
    if (result < 0) {
        lane_receiver_done(lane);
    }
    return result;
}

void lane_receiver_done(struct lane_receiver *lane)
{
    free(lane->body);
    page_set_done(&lane->arrived);
    page_set_done(&lane->zeroed);
    unpacker_done(&lane->unpacker);
}

/* Whether the page holds data. */
static bool holds_data(const struct lane_receiver *lane, uint64_t page)
{
    return page_set_has(&lane->arrived, page) ||
           (page_set_has(lane->received, page) && !page_set_has(&lane->zeroed, page));
}

/* What a frame says of its content. */
struct content {
    uint32_t run_count; /* they are in lane->runs */
    uint64_t pages;
    unsigned method;
    uint32_t length; /* bytes that follow the table */
};

static int check_table(const struct wire_table *table, const struct wire_header *header,
                       struct error *err)
{
    const char *name = wire_type_name(header->type);
    if ((table->method != PACK_NONE) != (header->type == WIRE_PACKED) || table->reserved != 0) {
        return error_set(err, EPROTO, "a %s frame cannot have method %u", name, table->method);
    }
    if (table->run_count == 0 || table->run_count > WIRE_RUNS_MOST ||
        table->run_count * WIRE_RUN_SIZE > header->length - WIRE_TABLE_SIZE) {
        return error_set(err, EPROTO, "a %s frame of %u bytes cannot have %u runs", name,
                         header->length, table->run_count);
    }
    return 0;
}

/* The bytes that follow the table must be those that its pages need. */
static int check_content(const struct content *content, const struct wire_header *header,
                         struct error *err)
{
    uint64_t bytes = content->pages * ENGINE_PAGE_SIZE;
    bool right = header->type == WIRE_PAGES  ? content->length == bytes
                 : header->type == WIRE_ZERO ? content->length == 0
                                             : content->pages <= PACK_CHUNK_PAGES &&
                                                   content->length > 0 && content->length < bytes;
    if (right) {
        return 0;
    }
    return error_set(err, EPROTO, "a %s frame for %llu pages in %u runs has %u bytes",
                     wire_type_name(header->type), (unsigned long long)content->pages,
                     content->run_count, header->length);
}

/* Receives fixed part and table. */
static int receive_table(struct lane_receiver *lane, const struct wire_header *header,
                         struct content *ret_content, struct error *err)
{
    struct wire_table table;
    int result = stream_receive(lane->stream, lane->body, WIRE_TABLE_SIZE, err);
    if (result == 0) {
        result = wire_table_decode(lane->body, &table, err);
    }
    if (result == 0) {
        result = check_table(&table, header, err);
    }
    if (result < 0) {
        return result;
    }
    uint32_t runs_size = table.run_count * WIRE_RUN_SIZE;
    struct content content = {.run_count = table.run_count,
                              .method = table.method,
                              .length = header->length - WIRE_TABLE_SIZE - runs_size};
    result = stream_receive(lane->stream, lane->body, runs_size, err);
    if (result == 0) {
        result = wire_runs_decode(lane->body, table.run_count, lane->received->pages, lane->runs,
                                  &content.pages, err);
    }
    if (result == 0) {
        result = check_content(&content, header, err);
    }
    if (result < 0) {
        return result;
    }
    *ret_content = content;
    return 0;
}

static int exhausted_error(const struct lane_receiver *lane, struct error *err)
{
    char received[32], size[32];
    uint64_t pages = page_set_count(lane->received) + page_set_count(&lane->arrived);
    units_format_size(pages * ENGINE_PAGE_SIZE, received, sizeof(received));
    units_format_size(lane->guest->memory_size, size, sizeof(size));
    error_set(err, ENOMEM,
              "the memory of the destination is exhausted: %s of the guest's %s found room",
              received, size);
    return error_remedy(err, "free memory on the destination host, or choose another");
}

/* The runs hold data now. */
static void note_arrived(struct lane_receiver *lane, const struct content *content)
{
    for (uint32_t i = 0; i < content->run_count; i++) {
        struct page_run run = {lane->runs[i].first, lane->runs[i].count};
        page_set_add(&lane->arrived, run);
        page_set_remove(&lane->zeroed, run);
    }
    lane->pages_received += content->pages;
    lane->changed = true;
}

static int receive_pages(struct lane_receiver *lane, const struct content *content,
                         struct error *err)
{
    struct iovec pieces[WIRE_RUNS_MOST];
    for (uint32_t i = 0; i < content->run_count; i++) {
        const struct wire_run *run = &lane->runs[i];
        pieces[i].iov_base = lane->guest->memory + run->first * ENGINE_PAGE_SIZE;
        pieces[i].iov_len = (size_t)run->count * ENGINE_PAGE_SIZE;
    }
    int result = stream_receive_pieces(lane->stream, pieces, (int)content->run_count, err);
    if (result == -EFAULT) {
        return exhausted_error(lane, err);
    }
    if (result == 0) {
        note_arrived(lane, content);
    }
    return result;
}

/* What the pages hold now, for differences. A hole is not even looked at. */
static void find_bases(struct lane_receiver *lane, const struct content *content)
{
    const uint8_t **base = lane->bases;
    for (uint32_t i = 0; i < content->run_count; i++) {
        const struct wire_run *run = &lane->runs[i];
        for (uint64_t page = run->first; page < run->first + run->count; page++) {
            *base++ = holds_data(lane, page) ? lane->guest->memory + page * ENGINE_PAGE_SIZE : NULL;
        }
    }
}

/* Through the file: a hole that finds no room is an error here, and a SIGBUS in the mapping. */
static int write_pages(struct lane_receiver *lane, const struct content *content,
                       const uint8_t *bytes, struct error *err)
{
    for (uint32_t i = 0; i < content->run_count; i++) {
        const struct wire_run *run = &lane->runs[i];
        off_t offset = (off_t)(run->first * ENGINE_PAGE_SIZE);
        size_t length = (size_t)run->count * ENGINE_PAGE_SIZE;
        if (pwrite(lane->guest->memory_fd, bytes, length, offset) != (ssize_t)length) {
            return exhausted_error(lane, err);
        }
        bytes += length;
    }
    return 0;
}

static int receive_packed(struct lane_receiver *lane, const struct content *content,
                          struct error *err)
{
    const uint8_t *bytes;
    int result = stream_receive(lane->stream, lane->unpacker.packed, content->length, err);
    if (result < 0) {
        return result;
    }
    find_bases(lane, content);
    result = unpacker_unpack(&lane->unpacker, content->method, content->length,
                             (uint32_t)content->pages, lane->bases, &bytes, err);
    if (result == 0) {
        result = write_pages(lane, content, bytes, err);
    }
    if (result == 0) {
        note_arrived(lane, content);
    }
    return result;
}

static void make_zero(struct lane_receiver *lane, struct page_run run)
{
    const struct engine_destination_guest *guest = lane->guest;
    uint64_t offset = run.first * ENGINE_PAGE_SIZE, length = run.count * ENGINE_PAGE_SIZE;
    if (run.count < PUNCH_PAGES ||
        fallocate(guest->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) < 0) {
        memset(guest->memory + offset, 0, length);
    }
    page_set_remove(&lane->arrived, run);
    page_set_add(&lane->zeroed, run);
    lane->changed = true;
}

/* Of a run that the source names, what holds data; the rest is zero as it is. */
static void make_data_zero(struct lane_receiver *lane, const struct wire_run *run)
{
    uint64_t end = run->first + run->count;
    for (uint64_t page = run->first; page < end;) {
        uint64_t first = page;
        while (page < end && holds_data(lane, page)) {
            page++;
        }
        if (page > first) {
            make_zero(lane, (struct page_run){first, page - first});
        } else {
            page++;
        }
    }
}

int lane_receiver_take(struct lane_receiver *lane, const struct wire_header *header,
                       struct error *err)
{
    struct content content;
    if (header->type != WIRE_PAGES && header->type != WIRE_PACKED && header->type != WIRE_ZERO) {
        return stream_unexpected(lane->stream, header->type, "receiving", err);
    }
    int result = receive_table(lane, header, &content, err);
    if (result < 0) {
        return result;
    }
    if (header->type == WIRE_PAGES) {
        return receive_pages(lane, &content, err);
    }
    if (header->type == WIRE_PACKED) {
        return receive_packed(lane, &content, err);
    }
    for (uint32_t i = 0; i < content.run_count; i++) {
        make_data_zero(lane, &lane->runs[i]);
    }
    return 0;
}

int lane_receiver_round_end(struct lane_receiver *lane, struct wire_round_end *ret_end,
                            struct error *err)
{
    uint8_t body[WIRE_ROUND_END_SIZE];
    int result = stream_receive(lane->stream, body, sizeof(body), err);
    return result < 0 ? result : wire_round_end_decode(body, ret_end, err);
}

void lane_receiver_settle(struct lane_receiver *lane, struct page_set *received, uint64_t *pages)
{
    if (lane->changed) {
        page_set_subtract(received, &lane->zeroed);
        page_set_unite(received, &lane->arrived);
        page_set_clear(&lane->zeroed);
        page_set_clear(&lane->arrived);
        lane->changed = false;
    }
    *pages += lane->pages_received;
    lane->pages_received = 0;
}
