/*
 * libFuzzer's entry: bytes as what comes over one connection of a move after its greeting, from a
 * source that is not trusted, into the memory of a small guest. Memory outside of the guest cannot
 * be touched, what is refused must say why, and as long as nothing was refused a page that is not
 * known to hold data must be zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/lane_receiver.h"

#define PAGES 160u /* more than one packed chunk */
#define MEMORY_SIZE ((size_t)PAGES * ENGINE_PAGE_SIZE)

/* A channel that has all its bytes already. */
struct input {
    const uint8_t *bytes;
    size_t length;
};

static int input_receive(void *channel, const struct iovec *pieces, int count, struct error *err)
{
    struct input *input = channel;
    for (int i = 0; i < count; i++) {
        size_t part = pieces[i].iov_len < input->length ? pieces[i].iov_len : input->length;
        memcpy(pieces[i].iov_base, input->bytes, part);
        input->bytes += part;
        input->length -= part;
        if (part < pieces[i].iov_len) {
            return error_set(err, ECONNRESET, "the other side closed the connection");
        }
    }
    return 0;
}

static int input_wait(void *channel, uint64_t timeout_ns, struct error *err)
{
    (void)timeout_ns, (void)err;
    return ((struct input *)channel)->length > 0;
}

/* Memory between two pages that nobody may touch; empty again for each input. */
static void make_guest(struct engine_destination_guest *guest)
{
    size_t room = MEMORY_SIZE + 2 * ENGINE_PAGE_SIZE;
    uint8_t *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest->memory_size = MEMORY_SIZE;
    guest->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (reserved == MAP_FAILED || ftruncate(guest->memory_fd, MEMORY_SIZE) < 0) {
        abort();
    }
    guest->memory = mmap(reserved + ENGINE_PAGE_SIZE, MEMORY_SIZE, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, guest->memory_fd, 0);
    if (guest->memory == MAP_FAILED) {
        abort();
    }
}

static void empty_guest(const struct engine_destination_guest *guest)
{
    if (fallocate(guest->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MEMORY_SIZE)) {
        abort();
    }
}

static int take_frame(struct lane_receiver *lane, struct page_set *received, uint64_t *pages,
                      struct error *err)
{
    struct wire_header header;
    struct wire_round_end end;
    int result = stream_receive_header(lane->stream, &header, err);
    if (result < 0) {
        return result;
    }
    if (header.type != WIRE_ROUND_END) {
        return lane_receiver_take(lane, &header, err);
    }
    result = lane_receiver_round_end(lane, &end, err);
    if (result == 0) {
        lane_receiver_settle(lane, received, pages);
    }
    return result;
}

static void check_holes(const struct engine_destination_guest *guest,
                        const struct page_set *received)
{
    static const uint8_t zeroes[ENGINE_PAGE_SIZE];
    for (uint64_t page = 0; page < PAGES; page++) {
        if (!page_set_has(received, page) &&
            memcmp(guest->memory + page * ENGINE_PAGE_SIZE, zeroes, sizeof(zeroes)) != 0) {
            abort();
        }
    }
}

static void receive(struct lane_receiver *lane, struct page_set *received)
{
    struct error err = ERROR_NONE;
    uint64_t pages = 0;
    int result = 0;
    while (result == 0 && stream_wait(lane->stream, 0, &err) > 0) {
        result = take_frame(lane, received, &pages, &err);
    }
    if (result < 0 && (err.code != -result || !err.message[0])) {
        abort();
    }
    if (result == 0) {
        lane_receiver_settle(lane, received, &pages);
        check_holes(lane->guest, received);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct engine_channel_operations operations = {.receive = input_receive,
                                                                .wait_readable = input_wait};
    static struct engine_destination_guest guest;
    struct input input = {bytes, length};
    struct engine_channel channel = {&operations, &input};
    struct stream stream = {.channel = &channel, .peer = "source"};
    struct page_set received;
    static struct lane_receiver lane;
    if (!guest.memory) {
        make_guest(&guest);
    }
    empty_guest(&guest);
    if (page_set_init(&received, PAGES) < 0 ||
        lane_receiver_init(&lane, &stream, &guest, &received, NULL) < 0) {
        abort();
    }
    receive(&lane, &received);
    lane_receiver_done(&lane);
    page_set_done(&received);
    return 0;
}
