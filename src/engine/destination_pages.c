/*
 * What PAGES and ZERO do to the guest's memory.
 *
 * Content is received straight into the mapping, all runs of a frame in one call. A page that was
 * never received is a hole and stays one: it is not even read, for touching a hole allocates it,
 * and where no memory is left that is a SIGBUS, while recvmsg(2) into a hole fails with EFAULT.
 */
#include <fcntl.h>

#include "base/units.h"
#include "engine/destination_internal.h"

#include <string.h>

#define PUNCH_PAGES 64u /* a run of zeroes from this length on is given back, not overwritten */

/* Receives fixed part and table into destination->runs: their number and the sum of their pages. */
static int receive_table(struct destination *destination, enum wire_type type, uint32_t length,
                         uint32_t *ret_count, uint64_t *ret_pages, struct error *err)
{
    struct wire_table table;
    uint64_t memory_pages = destination->received.pages;
    int result = stream_receive(&destination->stream, destination->body, WIRE_TABLE_SIZE, err);
    if (result == 0) {
        result = wire_table_decode(destination->body, &table, err);
    }
    if (result < 0) {
        return result;
    }
    if (table.run_count == 0 || table.run_count > WIRE_RUNS_MOST ||
        table.run_count * WIRE_RUN_SIZE > length - WIRE_TABLE_SIZE) {
        return error_set(err, EPROTO, "a %s frame of %u bytes cannot have %u runs",
                         wire_type_name(type), length, table.run_count);
    }
    result = stream_receive(&destination->stream, destination->body,
                            (size_t)table.run_count * WIRE_RUN_SIZE, err);
    if (result == 0) {
        result = wire_runs_decode(destination->body, table.run_count, memory_pages,
                                  destination->runs, ret_pages, err);
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

static int exhausted_error(const struct destination *destination, struct error *err)
{
    char received[32], size[32];
    units_format_size(page_set_count(&destination->received) * ENGINE_PAGE_SIZE, received,
                      sizeof(received));
    units_format_size(destination->guest->memory_size, size, sizeof(size));
    error_set(err, ENOMEM,
              "the memory of the destination is exhausted: %s of the guest's %s found room",
              received, size);
    return error_remedy(err, "free memory on the destination host, or choose another");
}

int destination_receive_pages(struct destination *destination, uint32_t length, struct error *err)
{
    uint32_t count;
    uint64_t pages;
    int result = receive_table(destination, WIRE_PAGES, length, &count, &pages, err);
    if (result == 0) {
        result = check_payload(WIRE_PAGES, length, count, pages, err);
    }
    if (result < 0) {
        return result;
    }
    struct iovec pieces[WIRE_RUNS_MOST];
    for (uint32_t i = 0; i < count; i++) {
        const struct wire_run *run = &destination->runs[i];
        pieces[i].iov_base = destination->guest->memory + run->first * ENGINE_PAGE_SIZE;
        pieces[i].iov_len = (size_t)run->count * ENGINE_PAGE_SIZE;
    }
    result = stream_receive_pieces(&destination->stream, pieces, (int)count, err);
    if (result == -EFAULT) {
        return exhausted_error(destination, err);
    }
    if (result < 0) {
        return result;
    }
    for (uint32_t i = 0; i < count; i++) {
        page_set_add(&destination->received,
                     (struct page_run){destination->runs[i].first, destination->runs[i].count});
    }
    destination->statistics->pages_received += pages;
    return 0;
}

static void make_zero(struct destination *destination, struct page_run run)
{
    const struct engine_destination_guest *guest = destination->guest;
    uint64_t offset = run.first * ENGINE_PAGE_SIZE, length = run.count * ENGINE_PAGE_SIZE;
    if (run.count < PUNCH_PAGES ||
        fallocate(guest->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) < 0) {
        memset(guest->memory + offset, 0, length);
    }
    page_set_remove(&destination->received, run);
}

/* Of a run that the source names, what was received; the rest is zero as it is. */
static void make_received_zero(struct destination *destination, const struct wire_run *run)
{
    uint64_t end = run->first + run->count;
    struct page_run part;
    for (uint64_t page = run->first;
         page < end && page_set_next_run(&destination->received, page, end - page, &part) &&
         part.first < end;
         page = part.first + part.count) {
        if (part.first + part.count > end) {
            part.count = end - part.first;
        }
        make_zero(destination, part);
    }
}

int destination_receive_zero(struct destination *destination, uint32_t length, struct error *err)
{
    uint32_t count;
    uint64_t pages;
    int result = receive_table(destination, WIRE_ZERO, length, &count, &pages, err);
    if (result == 0) {
        result = check_payload(WIRE_ZERO, length, count, pages, err);
    }
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        make_received_zero(destination, &destination->runs[i]);
    }
    return result;
}
