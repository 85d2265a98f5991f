/* The destination against a peer that does not keep to the protocol: refused by name, memory safe.
 */
#include "test.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/destination.h"
#include "plain_channel.h"
#include "wire/frame.h"

#define PAGES 16u
#define MEMORY_SIZE (PAGES * ENGINE_PAGE_SIZE)
#define MOVE_ID "00000000-0000-4000-8000-000000000001"

struct fixture {
    int sockets[2];
    uint8_t *memory;
    bool ran;
    struct error err;
};

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    (void)guest, (void)bytes, (void)length, (void)err;
    return 0;
}

static int finish_load(void *guest, struct error *err)
{
    (void)guest, (void)err;
    return 0;
}

static int run_guest(void *guest, struct error *err)
{
    struct fixture *fixture = guest;
    (void)err;
    fixture->ran = true;
    return 0;
}

static enum engine_verdict settle(void *ownership)
{
    (void)ownership;
    return ENGINE_OWNER_SOURCE;
}

static uint64_t now_ns(void *clock)
{
    (void)clock;
    return clock_monotonic_ns();
}

static void progress(void *observer, const struct engine_progress *progress)
{
    (void)observer, (void)progress;
}

static bool cancelled(void *observer)
{
    (void)observer;
    return false;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fixture->sockets), 0);
    fixture->memory =
        mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(fixture->memory != MAP_FAILED);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    munmap(fixture->memory, MEMORY_SIZE);
    close(fixture->sockets[0]);
    close(fixture->sockets[1]);
    free(fixture);
    return 0;
}

static void put(struct fixture *fixture, const void *bytes, size_t length)
{
    assert_int_equal(send(fixture->sockets[0], bytes, length, MSG_NOSIGNAL), length);
}

static void put_frame(struct fixture *fixture, unsigned type, uint32_t length, const void *body,
                      size_t present)
{
    uint8_t header[WIRE_HEADER_SIZE];
    wire_header_encode(&(struct wire_header){.type = (uint16_t)type, .length = length}, header);
    put(fixture, header, sizeof(header));
    put(fixture, body, present);
}

static void put_hello(struct fixture *fixture, uint64_t memory_size)
{
    uint8_t body[WIRE_HELLO_SIZE];
    struct wire_hello hello = {.channel_count = 1,
                               .page_size = ENGINE_PAGE_SIZE,
                               .memory_size = memory_size,
                               .token = "secret",
                               .move_id = MOVE_ID};
    wire_versions_fill(&hello.magic, &hello.version, &hello.lowest_version, hello.program);
    wire_hello_encode(&hello, body);
    put_frame(fixture, WIRE_HELLO, sizeof(body), body, sizeof(body));
}

static void put_table(struct fixture *fixture, unsigned type, uint32_t run_count,
                      struct wire_run run, uint32_t length)
{
    uint8_t body[WIRE_TABLE_SIZE + WIRE_RUN_SIZE];
    wire_table_encode(&(struct wire_table){.run_count = run_count}, body);
    wire_run_encode(&run, body + WIRE_TABLE_SIZE);
    put_frame(fixture, type, length, body, sizeof(body));
}

/* Runs the destination on all that was put, then the end of the stream. */
static enum engine_outcome receive(struct fixture *fixture)
{
    static const struct engine_destination_guest_operations operations = {
        .load_state = load_state, .finish_load = finish_load, .run = run_guest};
    struct plain_channel plain = {.fd = fixture->sockets[1]};
    struct engine_channel channel = plain_channel_of(&plain);
    struct engine_destination_options options = {
        .token = "secret", .move_id = MOVE_ID, .silence_limit_ns = 5 * NANOSECONDS_PER_SECOND};
    struct engine_destination_guest guest = {.operations = &operations,
                                             .guest = fixture,
                                             .memory_size = MEMORY_SIZE,
                                             .memory = fixture->memory,
                                             .memory_fd = -1};
    struct engine_clock clock = {.now_ns = now_ns};
    struct engine_ownership ownership = {.settle = settle};
    struct engine_observer observer = {progress, cancelled, NULL};
    struct engine_destination_statistics statistics;
    shutdown(fixture->sockets[0], SHUT_WR);
    return engine_destination_run(&options, &guest, &channel, NULL, &clock, &ownership, &observer,
                                  &statistics, &fixture->err);
}

static void assert_refused(struct fixture *fixture, int code, const char *words)
{
    assert_int_equal(receive(fixture), ENGINE_OUTCOME_STAYED);
    assert_false(fixture->ran);
    if (fixture->err.code != code || !strstr(fixture->err.message, words)) {
        fail_msg("%d \"%s\", expected %d \"…%s…\"", fixture->err.code, fixture->err.message, code,
                 words);
    }
}

static void test_garbage_for_a_hello(void **state)
{
    put(*state, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_refused(*state, EPROTO, "not a type of frame");
}

static void test_pages_before_hello(void **state)
{
    put_table(*state, WIRE_PAGES, 1, (struct wire_run){0, 1},
              WIRE_TABLE_SIZE + WIRE_RUN_SIZE + ENGINE_PAGE_SIZE);
    assert_refused(*state, EPROTO, "PAGES");
}

static void test_other_memory_size(void **state)
{
    put_hello(*state, MEMORY_SIZE * 2);
    assert_refused(*state, EPROTO, "memory");
}

static void test_hello_of_a_later_version_is_understood_enough(void **state)
{
    uint8_t body[WIRE_VERSIONS_SIZE + 500] = {0};
    struct wire_versions versions = {WIRE_MAGIC, 9, 8, "drover-9.0"};
    wire_versions_encode(&versions, body);
    put_frame(*state, WIRE_HELLO, sizeof(body), body, sizeof(body));
    assert_refused(*state, ENOTSUP, "8 to 9");
}

static void test_run_outside_of_memory(void **state)
{
    put_hello(*state, MEMORY_SIZE);
    put_table(*state, WIRE_PAGES, 1, (struct wire_run){PAGES, 1},
              WIRE_TABLE_SIZE + WIRE_RUN_SIZE + ENGINE_PAGE_SIZE);
    assert_refused(*state, EPROTO, "outside of the memory");
}

static void test_more_runs_than_the_frame_holds(void **state)
{
    put_hello(*state, MEMORY_SIZE);
    put_table(*state, WIRE_ZERO, 2, (struct wire_run){0, 1}, WIRE_TABLE_SIZE + WIRE_RUN_SIZE);
    assert_refused(*state, EPROTO, "cannot have 2 runs");
}

static void test_payload_that_is_not_the_pages(void **state)
{
    put_hello(*state, MEMORY_SIZE);
    put_table(*state, WIRE_PAGES, 1, (struct wire_run){0, 2},
              WIRE_TABLE_SIZE + WIRE_RUN_SIZE + ENGINE_PAGE_SIZE);
    assert_refused(*state, EPROTO, "for 2 pages");
}

static void test_run_without_ready(void **state)
{
    put_hello(*state, MEMORY_SIZE);
    put_frame(*state, WIRE_RUN, 0, "", 0);
    assert_refused(*state, EPROTO, "RUN frame has no place");
}

static void test_state_that_is_incomplete(void **state)
{
    uint8_t body[WIRE_STATE_END_SIZE];
    wire_state_end_encode(&(struct wire_state_end){.state_bytes = 10}, body);
    put_hello(*state, MEMORY_SIZE);
    put_frame(*state, WIRE_DEVICE_STATE, 9, "123456789", 9);
    put_frame(*state, WIRE_STATE_END, sizeof(body), body, sizeof(body));
    assert_refused(*state, EPROTO, "10 bytes of device state were sent, but 9");
}

static void test_rounds_out_of_order(void **state)
{
    uint8_t body[WIRE_ROUND_END_SIZE];
    wire_round_end_encode(&(struct wire_round_end){.number = 2}, body);
    put_hello(*state, MEMORY_SIZE);
    put_frame(*state, WIRE_ROUND_END, sizeof(body), body, sizeof(body));
    assert_refused(*state, EPROTO, "round 2 ends after round 0");
}

static void test_abort_is_told_in_its_own_words(void **state)
{
    uint8_t body[WIRE_ABORT_SIZE + 5];
    wire_abort_encode(&(struct wire_abort){.reason = WIRE_REASON_CANCELLED}, body);
    memcpy(body + WIRE_ABORT_SIZE, "why\n!", 5);
    put_hello(*state, MEMORY_SIZE);
    put_frame(*state, WIRE_ABORT, sizeof(body), body, sizeof(body));
    assert_refused(*state, ECANCELED, "the source gave up: why?!");
}

static void test_run_lost_after_ready_is_settled(void **state)
{
    uint8_t body[WIRE_STATE_END_SIZE];
    wire_state_end_encode(&(struct wire_state_end){0}, body);
    put_hello(*state, MEMORY_SIZE);
    put_frame(*state, WIRE_STATE_END, sizeof(body), body, sizeof(body));
    assert_refused(*state, ECONNRESET, "receive");
}

/* Each frame cut short at each byte: always an end, never a guest that runs. */
static void test_truncated_anywhere(void **state)
{
    const uint32_t frame = WIRE_TABLE_SIZE + WIRE_RUN_SIZE + ENGINE_PAGE_SIZE;
    uint8_t page[ENGINE_PAGE_SIZE];
    memset(page, 0xee, sizeof(page));
    for (size_t length = 0; length < 64; length++) {
        uint8_t body[WIRE_TABLE_SIZE + WIRE_RUN_SIZE + ENGINE_PAGE_SIZE];
        struct fixture *fixture = *state;
        wire_table_encode(&(struct wire_table){.run_count = 1}, body);
        wire_run_encode(&(struct wire_run){3, 1}, body + WIRE_TABLE_SIZE);
        memcpy(body + WIRE_TABLE_SIZE + WIRE_RUN_SIZE, page, sizeof(page));
        put_hello(fixture, MEMORY_SIZE);
        put_frame(fixture, WIRE_PAGES, frame, body, length);
        assert_refused(fixture, ECONNRESET, "receive");
        assert_int_equal(fixture->memory[2 * ENGINE_PAGE_SIZE], 0);
        teardown(state);
        setup(state);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_garbage_for_a_hello),
        TEST(test_pages_before_hello),
        TEST(test_other_memory_size),
        TEST(test_hello_of_a_later_version_is_understood_enough),
        TEST(test_run_outside_of_memory),
        TEST(test_more_runs_than_the_frame_holds),
        TEST(test_payload_that_is_not_the_pages),
        TEST(test_run_without_ready),
        TEST(test_state_that_is_incomplete),
        TEST(test_rounds_out_of_order),
        TEST(test_abort_is_told_in_its_own_words),
        TEST(test_run_lost_after_ready_is_settled),
        TEST(test_truncated_anywhere),
    };
    return cmocka_run_group_tests_name("engine/destination", tests, NULL, NULL);
}
