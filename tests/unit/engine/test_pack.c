/* The codec of packed pages, and the memory of what was sent that differences start from. */
#include "test.h"

#include <lz4.h>
#include <zstd.h>

#include "engine/delta_cache.h"
#include "engine/pack.h"
#include "pack_samples.h"

#define GUEST_PAGES 4096u

struct fixture {
    uint8_t *memory; /* the guest's, at the source */
    struct delta_cache *cache;
    struct packer packer;
    struct unpacker unpacker;
    struct sample_random random;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->memory = calloc(GUEST_PAGES, ENGINE_PAGE_SIZE);
    fixture->cache = delta_cache_new(GUEST_PAGES, (uint64_t)GUEST_PAGES * ENGINE_PAGE_SIZE, NULL);
    fixture->random.state = 1;
    assert_non_null(fixture->cache);
    assert_int_equal(packer_init(&fixture->packer, fixture->cache, NULL), 0);
    assert_int_equal(unpacker_init(&fixture->unpacker, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    unpacker_done(&fixture->unpacker);
    packer_done(&fixture->packer);
    delta_cache_free(fixture->cache);
    free(fixture->memory);
    free(fixture);
    return 0;
}

static void fill(struct fixture *fixture, enum sample_kind kind)
{
    sample_fill(&fixture->random, kind, fixture->memory, (size_t)GUEST_PAGES * ENGINE_PAGE_SIZE);
}

/* What the unpacker makes of the packer's bytes; NULL and err when it refuses them. */
static const uint8_t *unpack(struct fixture *fixture, enum pack_method method,
                             const uint8_t *packed, size_t length, uint32_t pages,
                             const uint8_t *const *bases, struct error *err)
{
    const uint8_t *content = NULL;
    memcpy(fixture->unpacker.packed, packed, length);
    int result = unpacker_unpack(&fixture->unpacker, method, length, pages, bases, &content, err);
    assert_true((result == 0) == (content != NULL));
    assert_true(result == 0 || (result == -EPROTO && err->message[0]));
    return content;
}

static void check_round_trip(struct fixture *fixture, enum pack_method method,
                             const struct page_run *runs, uint32_t run_count)
{
    struct error err = ERROR_NONE;
    const uint8_t *packed;
    size_t length;
    packer_take(&fixture->packer, fixture->memory, runs, run_count);
    size_t size = (size_t)fixture->packer.page_count * ENGINE_PAGE_SIZE;
    assert_true(packer_pack(&fixture->packer, method, &packed, &length));
    assert_in_range(length, 1, size - 1);
    const uint8_t *content =
        unpack(fixture, method, packed, length, fixture->packer.page_count, NULL, &err);
    assert_non_null(content);
    for (uint32_t i = 0; i < run_count; i++) {
        size_t bytes = runs[i].count * ENGINE_PAGE_SIZE;
        assert_memory_equal(content, fixture->memory + runs[i].first * ENGINE_PAGE_SIZE, bytes);
        content += bytes;
    }
}

static void test_round_trip(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run whole = {100, PACK_CHUNK_PAGES}, one = {7, 1};
    const struct page_run scattered[] = {{0, 1}, {5, 3}, {900, 60}, {GUEST_PAGES - 1, 1}};
    fill(fixture, SAMPLE_TEXT);
    for (enum pack_method method = PACK_LZ4; method <= PACK_DELTA; method++) {
        check_round_trip(fixture, method, &whole, 1);
        check_round_trip(fixture, method, &one, 1);
        check_round_trip(fixture, method, scattered, 4);
    }
}

static void test_what_does_not_shrink_is_said_to(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run run = {0, PACK_CHUNK_PAGES};
    const uint8_t *packed;
    size_t length;
    fill(fixture, SAMPLE_RANDOM);
    packer_take(&fixture->packer, fixture->memory, &run, 1);
    for (enum pack_method method = PACK_NONE; method <= PACK_DELTA; method++) {
        assert_false(packer_pack(&fixture->packer, method, &packed, &length));
        struct pack_probe probe = packer_probe(&fixture->packer, method, fixture->memory, &run, 1);
        assert_int_equal(probe.content, probe.packed);
    }
}

static void test_the_copy_does_not_change_with_the_guest(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run run = {3, 4};
    struct error err = ERROR_NONE;
    const uint8_t *packed;
    size_t length;
    uint8_t before[4 * ENGINE_PAGE_SIZE];
    fill(fixture, SAMPLE_TEXT);
    memcpy(before, fixture->memory + 3 * ENGINE_PAGE_SIZE, sizeof(before));
    packer_take(&fixture->packer, fixture->memory, &run, 1);
    fill(fixture, SAMPLE_RANDOM);
    assert_true(packer_pack(&fixture->packer, PACK_ZSTD, &packed, &length));
    const uint8_t *content = unpack(fixture, PACK_ZSTD, packed, length, 4, NULL, &err);
    assert_memory_equal(content, before, sizeof(before));
}

static void test_probe_foretells_the_ratio(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run runs[] = {{10, 100}, {300, 28}}, few = {50, 3};
    fill(fixture, SAMPLE_TEXT);
    struct pack_probe probe = packer_probe(&fixture->packer, PACK_LZ4, fixture->memory, runs, 2);
    assert_int_equal(probe.content, PACK_CHUNK_BYTES / PACK_PROBE_INTERVAL);
    assert_in_range(probe.packed, probe.content / 10, probe.content * 8 / 10);
    probe = packer_probe(&fixture->packer, PACK_LZ4, fixture->memory, &few, 1);
    assert_int_equal(probe.content, ENGINE_PAGE_SIZE);
}

/* Sends the chunk twice, so that it is remembered, and returns it as the destination has it. */
static uint8_t *remembered(struct fixture *fixture, struct page_run run)
{
    size_t bytes = run.count * ENGINE_PAGE_SIZE;
    uint8_t *copy = malloc(bytes);
    for (int i = 0; i < 2; i++) {
        packer_take(&fixture->packer, fixture->memory, &run, 1);
        packer_remember(&fixture->packer);
    }
    memcpy(copy, fixture->memory + run.first * ENGINE_PAGE_SIZE, bytes);
    return copy;
}

static void test_delta_sends_the_difference(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run run = {64, 8}, wider = {60, 16};
    const uint8_t *bases[16] = {0}, *packed;
    struct error err = ERROR_NONE;
    size_t length;
    fill(fixture, SAMPLE_RANDOM);
    memset(fixture->memory + 60 * ENGINE_PAGE_SIZE, 'x', 4 * ENGINE_PAGE_SIZE);
    memset(fixture->memory + 72 * ENGINE_PAGE_SIZE, 'y', 4 * ENGINE_PAGE_SIZE);
    uint8_t *there = remembered(fixture, run);
    for (uint32_t i = 0; i < run.count; i++) {
        bases[4 + i] = there + i * ENGINE_PAGE_SIZE;
    }
    sample_change(&fixture->random, fixture->memory + 64 * ENGINE_PAGE_SIZE,
                  run.count * ENGINE_PAGE_SIZE, 64);
    packer_take(&fixture->packer, fixture->memory, &wider, 1);
    assert_true(packer_pack(&fixture->packer, PACK_DELTA, &packed, &length));
    assert_true(length < ENGINE_PAGE_SIZE);
    const uint8_t *content = unpack(fixture, PACK_DELTA, packed, length, 16, bases, &err);
    assert_non_null(content);
    assert_memory_equal(content, fixture->memory + 60 * ENGINE_PAGE_SIZE, 16 * ENGINE_PAGE_SIZE);
    bases[6] = NULL;
    assert_null(unpack(fixture, PACK_DELTA, packed, length, 16, bases, &err));
    assert_null(unpack(fixture, PACK_DELTA, packed, length, 16, NULL, &err));
    free(there);
}

static void test_damaged_bytes_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const struct page_run run = {0, 9};
    const uint8_t *packed;
    size_t length;
    fill(fixture, SAMPLE_TEXT);
    for (enum pack_method method = PACK_LZ4; method <= PACK_DELTA; method++) {
        struct error err = ERROR_NONE;
        packer_take(&fixture->packer, fixture->memory, &run, 1);
        assert_true(packer_pack(&fixture->packer, method, &packed, &length));
        assert_null(unpack(fixture, method, packed, length - 1, 9, NULL, &err));
        assert_null(unpack(fixture, method, packed, length + 1, 9, NULL, &err));
        assert_null(unpack(fixture, method, packed, 1, 9, NULL, &err));
        assert_null(unpack(fixture, method, packed, length, 8, NULL, &err));
        assert_null(unpack(fixture, method, packed, length, 10, NULL, &err));
    }
}

static void test_frames_of_no_such_kind_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct unpacker *unpacker = &fixture->unpacker;
    const uint8_t *content = NULL;
    struct error err = ERROR_NONE;
    assert_int_equal(unpacker_unpack(unpacker, PACK_NONE, 9, 1, NULL, &content, &err), -EPROTO);
    assert_int_equal(unpacker_unpack(unpacker, PACK_METHODS, 9, 1, NULL, &content, &err), -EPROTO);
    assert_int_equal(unpacker_unpack(unpacker, PACK_LZ4, 9, 0, NULL, &content, &err), -EPROTO);
    assert_int_equal(
        unpacker_unpack(unpacker, PACK_LZ4, 9, UNPACK_PAGES_MOST + 1, NULL, &content, &err),
        -EPROTO);
    assert_int_equal(unpacker_unpack(unpacker, PACK_LZ4, 0, 1, NULL, &content, &err), -EPROTO);
    assert_int_equal(
        unpacker_unpack(unpacker, PACK_LZ4, UNPACK_BYTES_MOST + 1, 1, NULL, &content, &err),
        -EPROTO);
    assert_null(content);
}

/* Several zstd frames, or one that does not say its size, unpack well in themselves. */
static void test_zstd_is_one_frame_that_says_its_size(void **state)
{
    struct fixture *fixture = *state;
    uint8_t page[ENGINE_PAGE_SIZE] = {1}, packed[1024];
    struct error err = ERROR_NONE;
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    size_t length = ZSTD_compress2(zstd, packed, sizeof(packed), page, sizeof(page));
    assert_non_null(unpack(fixture, PACK_ZSTD, packed, length, 1, NULL, &err));
    size_t half = ZSTD_compress2(zstd, packed, sizeof(packed), page, sizeof(page) / 2);
    size_t rest =
        ZSTD_compress2(zstd, packed + half, sizeof(packed) - half, page, sizeof(page) / 2);
    assert_null(unpack(fixture, PACK_ZSTD, packed, half + rest, 1, NULL, &err));
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, 0);
    length = ZSTD_compress2(zstd, packed, sizeof(packed), page, sizeof(page));
    assert_null(unpack(fixture, PACK_ZSTD, packed, length, 1, NULL, &err));
    ZSTD_freeCCtx(zstd);
}

static void test_random_bytes_do_no_harm(void **state)
{
    struct fixture *fixture = *state;
    uint8_t bytes[512], base[ENGINE_PAGE_SIZE] = {0};
    const uint8_t *bases[] = {base, base, base};
    for (int i = 0; i < 20000; i++) {
        const uint8_t *content = NULL;
        sample_fill(&fixture->random, SAMPLE_RANDOM, bytes, sizeof(bytes));
        memcpy(fixture->unpacker.packed, bytes, sizeof(bytes));
        unpacker_unpack(&fixture->unpacker, PACK_LZ4 + i % 3, 1 + bytes[0] * 2u, 1 + i % 3, bases,
                        &content, NULL);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(pack_method_name(PACK_NONE), "none");
    assert_string_equal(pack_method_name(PACK_DELTA), "delta");
    assert_string_equal(pack_method_name(PACK_METHODS), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_shrink_is_said_to, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_copy_does_not_change_with_the_guest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_probe_foretells_the_ratio, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delta_sends_the_difference, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_bytes_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_frames_of_no_such_kind_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zstd_is_one_frame_that_says_its_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_bytes_do_no_harm, setup, teardown),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
