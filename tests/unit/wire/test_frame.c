/* Every frame: what goes in comes out, and nothing else is taken. */
#include "test.h"

#include <stdbool.h>

#include "wire/frame.h"

#define UUID "01234567-89ab-4def-8123-456789abcdef"

static struct wire_hello some_hello(void)
{
    struct wire_hello hello = {
        .channel = 1, .channel_count = 2, .page_size = 4096, .memory_size = 1ULL << 40};
    wire_versions_fill(&hello.magic, &hello.version, &hello.lowest_version, hello.program);
    memset(hello.token, 0xa5, sizeof(hello.token));
    strcpy(hello.move_id, UUID);
    return hello;
}

static void test_numbers_are_little_endian(void **state)
{
    (void)state;
    uint8_t bytes[WIRE_HEADER_SIZE];
    const uint8_t expected[] = {0x02, 0x01, 0x04, 0x03, 0x08, 0x07, 0x06, 0x05};
    struct wire_header header = {.type = 0x0102, .flags = 0x0304, .length = 0x05060708}, back;
    wire_header_encode(&header, bytes);
    assert_int_equal(sizeof(bytes), sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
    assert_int_equal(wire_header_decode(bytes, &back, NULL), 0);
    assert_int_equal(back.length, header.length);
}

static void test_hello_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[WIRE_HELLO_SIZE];
    struct error err = ERROR_NONE;
    struct wire_hello hello = some_hello(), back;
    wire_hello_encode(&hello, bytes);
    assert_int_equal(wire_hello_decode(bytes, &back, &err), 0);
    assert_string_equal(back.move_id, UUID);
    assert_string_equal(back.program, hello.program);
    assert_memory_equal(back.token, hello.token, sizeof(hello.token));
    assert_int_equal(back.memory_size, hello.memory_size);
    assert_int_equal(back.channel, 1);
    assert_int_equal(back.channel_count, 2);
}

/* Sizes are part of the protocol: a change here is a new version. */
static void test_sizes_stay(void **state)
{
    (void)state;
    assert_int_equal(WIRE_HEADER_SIZE, 8);
    assert_int_equal(WIRE_VERSIONS_SIZE, 40);
    assert_int_equal(WIRE_HELLO_SIZE, 124);
    assert_int_equal(WIRE_WELCOME_SIZE, 78);
    assert_int_equal(WIRE_RUN_SIZE, 12);
    assert_int_equal(WIRE_RUNNING_SIZE, 16);
}

static void test_hello_of_garbage_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[WIRE_HELLO_SIZE];
    struct error err = ERROR_NONE;
    struct wire_hello hello = some_hello(), back = {.channel = 7};
    size_t program = 8, move_id = WIRE_VERSIONS_SIZE + WIRE_TOKEN_SIZE;
    wire_hello_encode(&hello, bytes);
    bytes[program] = '\n';
    assert_int_equal(wire_hello_decode(bytes, &back, &err), -EPROTO);
    assert_non_null(strstr(err.message, "program"));
    bytes[program] = '\0'; /* padding must be zeroes */
    assert_int_equal(wire_hello_decode(bytes, &back, &err), -EPROTO);
    wire_hello_encode(&hello, bytes);
    bytes[move_id + 3] = 'G';
    assert_int_equal(wire_hello_decode(bytes, &back, &err), -EPROTO);
    assert_non_null(strstr(err.message, "move_id"));
    assert_int_equal(back.channel, 7); /* outputs are written on success only */
}

static void test_versions_must_overlap(void **state)
{
    (void)state;
    unsigned version = 0;
    struct error err = ERROR_NONE;
    struct wire_versions theirs = {.magic = WIRE_MAGIC,
                                   .version = WIRE_VERSION + 5,
                                   .lowest_version = WIRE_VERSION,
                                   .program = "drover-9.9"};
    assert_int_equal(wire_versions_agree(&theirs, "source", &version, &err), 0);
    assert_int_equal(version, WIRE_VERSION);
    theirs.lowest_version = WIRE_VERSION + 1;
    assert_int_equal(wire_versions_agree(&theirs, "source", &version, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "drover-9.9"));
    assert_non_null(strstr(err.message, "drover-" DROVER_VERSION));
    theirs = (struct wire_versions){.magic = WIRE_MAGIC, .program = "drover-0.0"};
    assert_int_equal(wire_versions_agree(&theirs, "source", &version, &err), -ENOTSUP);
    theirs.magic ^= 1;
    assert_int_equal(wire_versions_agree(&theirs, "source", &version, &err), -EPROTO);
}

struct bounds {
    unsigned type;
    const char *name;
    uint32_t least, most;
};

#define BOUNDS_ROW(NAME, number, least, most) {WIRE_##NAME, #NAME, least, most},
static const struct bounds all_bounds[] = {WIRE_FRAMES(BOUNDS_ROW)};

static void test_headers_are_bounded(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(all_bounds) / sizeof(all_bounds[0]); i++) {
        const struct bounds *bounds = &all_bounds[i];
        struct error err = ERROR_NONE;
        struct wire_header header = {.type = (uint16_t)bounds->type, .length = bounds->least};
        assert_string_equal(wire_type_name(bounds->type), bounds->name);
        assert_int_equal(wire_header_check(&header, &err), 0);
        header.length = bounds->most;
        assert_int_equal(wire_header_check(&header, &err), 0);
        header.length = bounds->most + 1;
        assert_int_equal(wire_header_check(&header, &err), -EPROTO);
        assert_non_null(strstr(err.message, bounds->name));
        header.length = bounds->least - 1; /* for 0: wraps to the largest */
        assert_int_equal(wire_header_check(&header, &err), -EPROTO);
        header = (struct wire_header){(uint16_t)bounds->type, 1, bounds->least};
        assert_int_equal(wire_header_check(&header, &err), -EPROTO);
    }
}

static void test_unknown_types_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const unsigned types[] = {0, 15, 255, 65535};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct wire_header header = {.type = (uint16_t)types[i]};
        assert_int_equal(wire_header_check(&header, &err), -EPROTO);
        assert_string_equal(wire_type_name(types[i]), "unknown");
    }
}

static int decode_runs(const struct wire_run *runs, uint32_t count, struct error *err)
{
    uint8_t bytes[4 * WIRE_RUN_SIZE];
    struct wire_run back[4];
    uint64_t pages = 0;
    for (uint32_t i = 0; i < count; i++) {
        wire_run_encode(&runs[i], bytes + i * WIRE_RUN_SIZE);
    }
    int result = wire_runs_decode(bytes, count, 100, back, &pages, err);
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        assert_int_equal(back[i].first, runs[i].first);
        assert_int_equal(back[i].count, runs[i].count);
    }
    return result;
}

static void test_runs_lie_inside_ascending_and_apart(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const struct {
        struct wire_run runs[2];
        int result;
    } cases[] = {
        {{{0, 1}, {1, 99}}, 0},
        {{{0, 100}, {100, 1}}, -EPROTO},      /* beyond the end */
        {{{0, 1}, {99, 2}}, -EPROTO},         /* across the end */
        {{{0, 0}, {5, 1}}, -EPROTO},          /* empty */
        {{{5, 5}, {9, 1}}, -EPROTO},          /* overlap */
        {{{50, 1}, {5, 1}}, -EPROTO},         /* descending */
        {{{0, 1}, {UINT64_MAX, 2}}, -EPROTO}, /* wraps around */
        {{{0, 1}, {UINT64_MAX - 1, UINT32_MAX}}, -EPROTO},
        {{{0, UINT32_MAX}, {1, 1}}, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(decode_runs(cases[i].runs, 2, &err), cases[i].result);
    }
}

static void test_tokens(void **state)
{
    (void)state;
    wire_token left = {1, 2, 3}, right = {1, 2, 3};
    assert_true(wire_token_equal(left, right));
    for (size_t i = 0; i < sizeof(left); i++) {
        right[i] ^= 0x80;
        assert_false(wire_token_equal(left, right));
        right[i] ^= 0x80;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_little_endian),
        cmocka_unit_test(test_hello_comes_back),
        cmocka_unit_test(test_sizes_stay),
        cmocka_unit_test(test_hello_of_garbage_is_refused),
        cmocka_unit_test(test_versions_must_overlap),
        cmocka_unit_test(test_headers_are_bounded),
        cmocka_unit_test(test_unknown_types_are_refused),
        cmocka_unit_test(test_runs_lie_inside_ascending_and_apart),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests_name("wire/frame", tests, NULL, NULL);
}
