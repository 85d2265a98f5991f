/*
 * A lane that packs, over a link made of a clock: whatever it chooses and however the guest writes,
 * the destination's memory ends up as the source's.
 */
#include "test.h"

#include "engine/delta_cache.h"
#include "engine/pack_lane.h"
#include "pack_samples.h"

#define PAGES 8192u         /* 32 MiB */
#define LINK (20e6)         /* bytes a second: slow, so that everything pays */
#define BUFFERED (4u << 20) /* bytes: the socket is always full */

struct fixture {
    uint8_t *source, *destination;
    bool received[PAGES];
    uint64_t now_ns;
    struct engine_clock clock;
    struct delta_cache *cache;
    struct pack_lane lane;
    struct unpacker unpacker;
    struct sample_random random;
    uint64_t sent;
    uint64_t chunks[PACK_METHODS], remembered, fresh;
};

/* Packing itself takes no time but for this: reading the clock. */
static uint64_t read_clock(void *context)
{
    struct fixture *fixture = context;
    fixture->now_ns += 20000;
    return fixture->now_ns;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->source = calloc(PAGES, ENGINE_PAGE_SIZE);
    fixture->destination = calloc(PAGES, ENGINE_PAGE_SIZE);
    fixture->clock = (struct engine_clock){.now_ns = read_clock, .clock = fixture};
    fixture->cache = delta_cache_new(PAGES, PAGES / 2 * ENGINE_PAGE_SIZE, NULL);
    fixture->random.state = 3;
    assert_non_null(fixture->cache);
    assert_int_equal(pack_lane_init(&fixture->lane, fixture->cache, &fixture->clock, NULL), 0);
    assert_int_equal(unpacker_init(&fixture->unpacker, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    unpacker_done(&fixture->unpacker);
    pack_lane_done(&fixture->lane);
    delta_cache_free(fixture->cache);
    free(fixture->destination);
    free(fixture->source);
    free(fixture);
    return 0;
}

static void transmit(struct fixture *fixture, size_t bytes)
{
    fixture->sent += bytes;
    fixture->now_ns += (uint64_t)((double)bytes / LINK * 1e9);
}

static void receive(struct fixture *fixture, struct page_run run, const uint8_t *content)
{
    memcpy(fixture->destination + run.first * ENGINE_PAGE_SIZE, content,
           run.count * ENGINE_PAGE_SIZE);
    memset(fixture->received + run.first, true, run.count);
}

/* What the destination does with a PACKED frame. */
static void receive_packed(struct fixture *fixture, struct page_run run,
                           const struct pack_chunk *chunk)
{
    const uint8_t *bases[PACK_CHUNK_PAGES], *content;
    struct error err = ERROR_NONE;
    for (uint64_t i = 0; i < run.count; i++) {
        uint64_t page = run.first + i;
        bases[i] = fixture->received[page] ? fixture->destination + page * ENGINE_PAGE_SIZE : NULL;
    }
    memcpy(fixture->unpacker.packed, chunk->bytes, chunk->length);
    assert_int_equal(unpacker_unpack(&fixture->unpacker, chunk->method, chunk->length,
                                     (uint32_t)run.count, bases, &content, &err),
                     0);
    receive(fixture, run, content);
}

/* The guest writes into what is being sent: at the destination is what was read. */
static void send_run(struct fixture *fixture, struct page_run run)
{
    struct pack_chunk chunk = {0};
    uint8_t *memory = fixture->source + run.first * ENGINE_PAGE_SIZE;
    if (!pack_lane_wants(&fixture->lane)) {
        transmit(fixture, run.count * ENGINE_PAGE_SIZE);
        receive(fixture, run, memory);
        pack_lane_sent_plain(&fixture->lane, &run, 1, BUFFERED);
        return;
    }
    pack_lane_pack(&fixture->lane, fixture->source, &run, 1, &chunk);
    transmit(fixture, chunk.length);
    if (chunk.method != PACK_NONE) {
        receive_packed(fixture, run, &chunk);
    } else {
        receive(fixture, run, chunk.bytes ? chunk.bytes : memory);
    }
    pack_lane_sent(&fixture->lane, &chunk, BUFFERED);
    fixture->chunks[chunk.method]++;
    fixture->remembered += chunk.method == PACK_NONE && chunk.bytes;
    fixture->fresh += !chunk.bytes;
}

static void send_round(struct fixture *fixture)
{
    pack_lane_resume(&fixture->lane, BUFFERED);
    for (uint64_t page = 0; page < PAGES; page += PACK_CHUNK_PAGES) {
        send_run(fixture, (struct page_run){page, PACK_CHUNK_PAGES});
    }
    assert_memory_equal(fixture->destination, fixture->source, (size_t)PAGES * ENGINE_PAGE_SIZE);
}

static void fill(struct fixture *fixture, enum sample_kind kind)
{
    sample_fill(&fixture->random, kind, fixture->source, (size_t)PAGES * ENGINE_PAGE_SIZE);
}

static void test_text_is_compressed(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture, SAMPLE_TEXT);
    send_round(fixture);
    send_round(fixture);
    assert_true(fixture->chunks[PACK_ZSTD] > 80);
    assert_true(fixture->sent < (uint64_t)PAGES * ENGINE_PAGE_SIZE * 12 / 10);
}

static void test_noise_written_a_little_goes_as_difference(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture, SAMPLE_RANDOM);
    send_round(fixture);
    assert_true(fixture->fresh > 30);
    send_round(fixture);
    assert_true(fixture->remembered > 50);
    assert_int_equal(fixture->chunks[PACK_DELTA], 0);
    for (int round = 0; round < 4; round++) {
        sample_change(&fixture->random, fixture->source, (size_t)PAGES * ENGINE_PAGE_SIZE, 64);
        send_round(fixture);
    }
    assert_true(fixture->chunks[PACK_DELTA] > 100);
}

/* Pages become zero, are sent whole, by parts, and out of the guest's memory, in any order. */
static void test_any_order_of_frames(void **state)
{
    struct fixture *fixture = *state;
    struct page_run zeroed;
    fill(fixture, SAMPLE_RANDOM);
    for (int round = 0; round < 12; round++) {
        zeroed = (struct page_run){sample_next(&fixture->random) % (PAGES - 300), 300};
        memset(fixture->source + zeroed.first * ENGINE_PAGE_SIZE, 0, 300 * ENGINE_PAGE_SIZE);
        memset(fixture->destination + zeroed.first * ENGINE_PAGE_SIZE, 0, 300 * ENGINE_PAGE_SIZE);
        memset(fixture->received + zeroed.first, false, zeroed.count);
        pack_lane_sent_zero(&fixture->lane, &zeroed, 1);
        for (uint64_t page = 0; page < PAGES;) {
            uint64_t count = 1 + sample_next(&fixture->random) % PACK_CHUNK_PAGES;
            count = count < PAGES - page ? count : PAGES - page;
            sample_change(&fixture->random, fixture->source + page * ENGINE_PAGE_SIZE,
                          count * ENGINE_PAGE_SIZE, count);
            send_run(fixture, (struct page_run){page, count});
            page += count;
        }
        assert_memory_equal(fixture->destination, fixture->source,
                            (size_t)PAGES * ENGINE_PAGE_SIZE);
    }
    assert_true(fixture->chunks[PACK_DELTA] > 100);
}

static void test_without_idle_processors_nothing_is_packed(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture, SAMPLE_TEXT);
    pack_lane_set_idle(&fixture->lane, 0);
    send_round(fixture);
    send_round(fixture);
    assert_false(pack_lane_wants(&fixture->lane));
    assert_int_equal(fixture->sent, 2ull * PAGES * ENGINE_PAGE_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text_is_compressed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_noise_written_a_little_goes_as_difference, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_any_order_of_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_idle_processors_nothing_is_packed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("pack-lane", tests, NULL, NULL);
}
