/* What a lane takes into the guest's memory, and the tables and contents that it refuses. */
#include "test.h"

#include <errno.h>
#include <lz4.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/lane_receiver.h"
#include "plain_channel.h"

#define PAGES 256u
#define MEMORY_SIZE ((size_t)PAGES * ENGINE_PAGE_SIZE)
#define RUNS_MOST 3u

struct fixture {
    int sockets[2];
    struct plain_channel plain;
    struct engine_channel channel;
    struct stream stream;
    struct engine_destination_guest guest;
    struct page_set received;
    struct lane_receiver lane;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int room = 1 << 20; /* whole frames wait in it */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fixture->sockets), 0);
    setsockopt(fixture->sockets[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    fixture->plain.fd = fixture->sockets[1];
    fixture->channel = plain_channel_of(&fixture->plain);
    fixture->stream = (struct stream){.channel = &fixture->channel, .peer = "source"};
    fixture->guest.memory_size = MEMORY_SIZE;
    fixture->guest.memory_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fixture->guest.memory_fd, MEMORY_SIZE), 0);
    fixture->guest.memory =
        mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fixture->guest.memory_fd, 0);
    assert_true(fixture->guest.memory != MAP_FAILED);
    assert_int_equal(page_set_init(&fixture->received, PAGES), 0);
    assert_int_equal(lane_receiver_init(&fixture->lane, &fixture->stream, &fixture->guest,
                                        &fixture->received, NULL),
                     0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    lane_receiver_done(&fixture->lane);
    page_set_done(&fixture->received);
    munmap(fixture->guest.memory, MEMORY_SIZE);
    close(fixture->guest.memory_fd);
    close(fixture->sockets[0]);
    close(fixture->sockets[1]);
    free(fixture);
    return 0;
}

struct frame {
    unsigned type;
    struct wire_table table;
    struct wire_run runs[RUNS_MOST]; /* those sent; the table may say otherwise */
    unsigned run_count;
    uint32_t length; /* that the header says of what follows the runs */
};

static void put(const struct fixture *fixture, const void *bytes, size_t length)
{
    assert_int_equal(send(fixture->sockets[0], bytes, length, MSG_NOSIGNAL), length);
}

/* Puts the frame, whose content is `content`, and takes it as a lane does. */
static int take(struct fixture *fixture, const struct frame *frame, const void *content,
                size_t length)
{
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_TABLE_SIZE + RUNS_MOST * WIRE_RUN_SIZE];
    uint8_t *at = bytes + WIRE_HEADER_SIZE + WIRE_TABLE_SIZE;
    size_t table_size = WIRE_TABLE_SIZE + frame->run_count * WIRE_RUN_SIZE;
    struct wire_header header = {.type = (uint16_t)frame->type,
                                 .length = (uint32_t)table_size + frame->length};
    wire_header_encode(&header, bytes);
    wire_table_encode(&frame->table, bytes + WIRE_HEADER_SIZE);
    for (unsigned i = 0; i < frame->run_count; i++, at += WIRE_RUN_SIZE) {
        wire_run_encode(&frame->runs[i], at);
    }
    put(fixture, bytes, WIRE_HEADER_SIZE + table_size);
    if (length > 0) {
        put(fixture, content, length);
    }
    int result = stream_receive_header(&fixture->stream, &header, &fixture->err);
    return result < 0 ? result : lane_receiver_take(&fixture->lane, &header, &fixture->err);
}

/* A refused frame leaves the guest as it was: all zeroes, nothing received. */
static void assert_untouched(struct fixture *fixture)
{
    uint64_t pages = 0;
    for (size_t i = 0; i < MEMORY_SIZE; i += 512) {
        assert_int_equal(fixture->guest.memory[i], 0);
    }
    lane_receiver_settle(&fixture->lane, &fixture->received, &pages);
    assert_int_equal(pages, 0);
    assert_int_equal(page_set_count(&fixture->received), 0);
}

static void assert_refused(const struct frame *frame, const void *content, size_t length,
                           const char *words)
{
    void *state;
    set_up(&state);
    struct fixture *fixture = state;
    int result = take(fixture, frame, content, length);
    if (result != -EPROTO || !strstr(fixture->err.message, words)) {
        fail_msg("%d \"%s\", expected \"…%s…\"", result, fixture->err.message, words);
    }
    assert_untouched(fixture);
    tear_down(&state);
}

static void tables_that_lie_are_refused(void **state)
{
    static const struct {
        struct frame frame;
        const char *words;
    } refused[] = {
        {{WIRE_ZERO, {0, 0, 0}, {{0, 1}}, 1, 0}, "cannot have 0 runs"},
        {{WIRE_ZERO, {2, 0, 0}, {{0, 1}}, 1, 0}, "cannot have 2 runs"},
        {{WIRE_ZERO, {WIRE_RUNS_MOST + 1, 0, 0}, {{0, 1}}, 1, 0}, "cannot have 1001 runs"},
        {{WIRE_ZERO, {UINT32_MAX, 0, 0}, {{0, 1}}, 1, 0}, "cannot have 4294967295 runs"},
        {{WIRE_ZERO, {0x15555556u, 0, 0}, {{0, 1}}, 1, 0}, "cannot have 357913942 runs"},
        {{WIRE_ZERO, {1, 1, 0}, {{0, 1}}, 1, 0}, "cannot have method 1"},
        {{WIRE_ZERO, {1, 0, 1}, {{0, 1}}, 1, 0}, "cannot have method 0"},
        {{WIRE_ZERO, {1, 0, 0}, {{0, 0}}, 1, 0}, "empty"},
        {{WIRE_ZERO, {1, 0, 0}, {{PAGES, 1}}, 1, 0}, "outside of the memory"},
        {{WIRE_ZERO, {1, 0, 0}, {{PAGES - 1, 2}}, 1, 0}, "outside of the memory"},
        {{WIRE_ZERO, {1, 0, 0}, {{UINT64_MAX, 1}}, 1, 0}, "outside of the memory"},
        {{WIRE_ZERO, {1, 0, 0}, {{UINT64_MAX - 1, UINT32_MAX}}, 1, 0}, "outside of the memory"},
        {{WIRE_ZERO, {2, 0, 0}, {{4, 2}, {5, 1}}, 2, 0}, "before the end of the last"},
        {{WIRE_ZERO, {2, 0, 0}, {{4, 2}, {0, 1}}, 2, 0}, "before the end of the last"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_refused(&refused[i].frame, NULL, 0, refused[i].words);
    }
}

static void contents_that_do_not_fit_are_refused(void **state)
{
    static const uint8_t content[ENGINE_PAGE_SIZE];
    static const struct {
        struct frame frame;
        const char *words;
    } refused[] = {
        {{WIRE_PAGES, {1, 0, 0}, {{0, 2}}, 1, ENGINE_PAGE_SIZE}, "for 2 pages"},
        {{WIRE_PAGES, {1, 1, 0}, {{0, 1}}, 1, ENGINE_PAGE_SIZE}, "cannot have method 1"},
        {{WIRE_ZERO, {1, 0, 0}, {{0, 1}}, 1, 8}, "for 1 pages"},
        {{WIRE_PACKED, {1, 0, 0}, {{0, 1}}, 1, 8}, "cannot have method 0"},
        {{WIRE_PACKED, {1, 1, 0}, {{0, 1}}, 1, ENGINE_PAGE_SIZE}, "for 1 pages"},
        {{WIRE_PACKED, {1, 1, 0}, {{0, WIRE_PACKED_PAGES_MOST + 1}}, 1, 8}, "for 129 pages"},
        {{WIRE_PACKED, {1, 4, 0}, {{0, 1}}, 1, 8}, "method"},
        {{WIRE_PACKED, {1, 0xffff, 0}, {{0, 1}}, 1, 8}, "method"},
        {{WIRE_PACKED, {1, 1, 0}, {{0, 1}}, 1, 8}, "lz4"},
        {{WIRE_PACKED, {1, 2, 0}, {{0, 1}}, 1, 8}, "zstd"},
        {{WIRE_PACKED, {1, 3, 0}, {{0, 1}}, 1, 8}, "delta"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_refused(&refused[i].frame, content, refused[i].frame.length, refused[i].words);
    }
}

/* One page too few or too many, honestly packed. */
static void packed_content_is_exactly_its_pages(void **state)
{
    static uint8_t content[3 * ENGINE_PAGE_SIZE];
    char packed[ENGINE_PAGE_SIZE];
    memset(content, 'x', sizeof(content));
    int length =
        LZ4_compress_default((const char *)content, packed, sizeof(content), (int)sizeof(packed));
    for (uint32_t pages = 1; pages <= 5; pages++) {
        struct frame frame = {WIRE_PACKED, {1, 1, 0}, {{7, pages}}, 1, (uint32_t)length};
        struct fixture *fixture = *state;
        if (pages != 3) {
            assert_refused(&frame, packed, (size_t)length, "");
            continue;
        }
        assert_int_equal(take(fixture, &frame, packed, (size_t)length), 0);
        assert_memory_equal(fixture->guest.memory + (size_t)7 * ENGINE_PAGE_SIZE, content,
                            sizeof(content));
    }
}

/* Data, then zeroes, then data in one round and over the next: what holds data is known. */
static void what_came_is_accounted_for(void **state)
{
    static uint8_t content[4 * ENGINE_PAGE_SIZE];
    struct fixture *fixture = *state;
    struct frame data = {WIRE_PAGES, {2, 0, 0}, {{1, 1}, {10, 3}}, 2, sizeof(content)};
    struct frame zero = {WIRE_ZERO, {2, 0, 0}, {{0, 2}, {11, 200}}, 2, 0};
    uint64_t pages = 0;
    memset(content, 'x', sizeof(content));
    assert_int_equal(take(fixture, &data, content, sizeof(content)), 0);
    lane_receiver_settle(&fixture->lane, &fixture->received, &pages);
    assert_int_equal(pages, 4);
    assert_int_equal(page_set_count(&fixture->received), 4);
    assert_int_equal(take(fixture, &zero, NULL, 0), 0);
    lane_receiver_settle(&fixture->lane, &fixture->received, &pages);
    assert_int_equal(page_set_count(&fixture->received), 1);
    assert_true(page_set_has(&fixture->received, 10));
    for (unsigned page = 0; page < PAGES; page++) {
        assert_int_equal(fixture->guest.memory[(size_t)page * ENGINE_PAGE_SIZE],
                         page == 10 ? 'x' : 0);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_that_lie_are_refused),
        cmocka_unit_test(contents_that_do_not_fit_are_refused),
        TEST(packed_content_is_exactly_its_pages),
        TEST(what_came_is_accounted_for),
    };
    return cmocka_run_group_tests_name("engine/lane-receiver", tests, NULL, NULL);
}
