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

#include "base/units.h"

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
    return 0;
}

void lane_receiver_done(struct lane_receiver *lane)
{
    free(lane->body);
    page_set_done(&lane->arrived);
    page_set_done(&lane->zeroed);
}

/* Whether the page holds data. */
static bool holds_data(const struct lane_receiver *lane, uint64_t page)
{
    return page_set_has(&lane->arrived, page) ||
           (page_set_has(lane->received, page) && !page_set_has(&lane->zeroed, page));
}

/* Receives fixed part and table into lane->runs: their number and the sum of their pages. */
static int receive_table(struct lane_receiver *lane, enum wire_type type, uint32_t length,
                         uint32_t *ret_count, uint64_t *ret_pages, struct error *err)
{
    struct wire_table table;
    uint64_t memory_pages = lane->received->pages;
    int result = stream_receive(lane->stream, lane->body, WIRE_TABLE_SIZE, err);
    if (result == 0) {
        result = wire_table_decode(lane->body, &table, err);
    }
    if (result < 0) {
        return result;
    }
    if (table.method != 0 || table.reserved != 0) {
        return error_set(err, EPROTO, "a %s frame says how it is packed", wire_type_name(type));
    }
    if (table.run_count == 0 || table.run_count > WIRE_RUNS_MOST ||
        table.run_count * WIRE_RUN_SIZE > length - WIRE_TABLE_SIZE) {
        return error_set(err, EPROTO, "a %s frame of %u bytes cannot have %u runs",
                         wire_type_name(type), length, table.run_count);
    }
    result = stream_receive(lane->stream, lane->body, (size_t)table.run_count * WIRE_RUN_SIZE, err);
    if (result == 0) {
        result =
            wire_runs_decode(lane->body, table.run_count, memory_pages, lane->runs, ret_pages, err);
    }
    if (result < 0) {
        return result;
    }
    *ret_count = table.run_count;
    return 0;
}

static int check_payload(enum wire_type type, uint32_t length, uint32_t run_count, uint64_t pages,
                         struct error *err)
{
    uint64_t table = WIRE_TABLE_SIZE + (uint64_t)run_count * WIRE_RUN_SIZE;
    uint64_t payload = type == WIRE_PAGES ? pages * ENGINE_PAGE_SIZE : 0;
    if (table + payload != length) {
        return error_set(err, EPROTO, "a %s frame for %llu pages in %u runs has %u bytes",
                         wire_type_name(type), (unsigned long long)pages, run_count, length);
    }
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

static int receive_pages(struct lane_receiver *lane, uint32_t length, struct error *err)
{
    uint32_t count;
    uint64_t pages;
    int result = receive_table(lane, WIRE_PAGES, length, &count, &pages, err);
    if (result == 0) {
        result = check_payload(WIRE_PAGES, length, count, pages, err);
    }
    if (result < 0) {
        return result;
    }
    struct iovec pieces[WIRE_RUNS_MOST];
    for (uint32_t i = 0; i < count; i++) {
        const struct wire_run *run = &lane->runs[i];
        pieces[i].iov_base = lane->guest->memory + run->first * ENGINE_PAGE_SIZE;
        pieces[i].iov_len = (size_t)run->count * ENGINE_PAGE_SIZE;
    }
    result = stream_receive_pieces(lane->stream, pieces, (int)count, err);
    if (result == -EFAULT) {
        return exhausted_error(lane, err);
    }
    if (result < 0) {
        return result;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct page_run run = {lane->runs[i].first, lane->runs[i].count};
        page_set_add(&lane->arrived, run);
        page_set_remove(&lane->zeroed, run);
    }
    lane->pages_received += pages;
    return 0;
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

static int receive_zero(struct lane_receiver *lane, uint32_t length, struct error *err)
{
    uint32_t count;
    uint64_t pages;
    int result = receive_table(lane, WIRE_ZERO, length, &count, &pages, err);
    if (result == 0) {
        result = check_payload(WIRE_ZERO, length, count, pages, err);
    }
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        make_data_zero(lane, &lane->runs[i]);
    }
    return result;
}

int lane_receiver_take(struct lane_receiver *lane, const struct wire_header *header,
                       struct error *err)
{
    switch (header->type) {
    case WIRE_PAGES:
        return receive_pages(lane, header->length, err);
    case WIRE_ZERO:
        return receive_zero(lane, header->length, err);
    default:
        return stream_unexpected(lane->stream, header->type, "receiving", err);
    }
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
    page_set_subtract(received, &lane->zeroed);
    page_set_unite(received, &lane->arrived);
    page_set_clear(&lane->zeroed);
    page_set_clear(&lane->arrived);
    *pages += lane->pages_received;
    lane->pages_received = 0;
}
