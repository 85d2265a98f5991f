/* UUIDs, hexadecimal digits and buffers. */
#include "test.h"

#include "base/buffer.h"
#include "base/hex.h"
#include "base/uuid.h"

static void generated_uuids_are_valid_and_differ(void **state)
{
    (void)state;
    char first[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];
    uuid_generate(first);
    uuid_generate(second);
    assert_true(uuid_is_valid(first));
    assert_string_not_equal(first, second);
    assert_int_equal(first[14], '4');
    assert_non_null(strchr("89ab", first[19]));
}

static void other_texts_are_no_uuids(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4",
                                      "0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4aa",
                                      "0B5F8A3E-5d0c-4c7e-9a53-0d9e3f1c2b4a",
                                      "0b5f8a3e 5d0c-4c7e-9a53-0d9e3f1c2b4a",
                                      "0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4g",
                                      "0b5f8a3e5d0c-4c7e-9a53-0d9e3f1c2b4a-"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(uuid_is_valid(bad[i]));
    }
}

static void bytes_survive_as_digits(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x09, 0x1a, 0xa1, 0xff};
    uint8_t back[5] = {0};
    char text[11];
    (void)state;
    hex_encode(bytes, sizeof(bytes), text);
    assert_string_equal(text, "00091aa1ff");
    assert_true(hex_decode(text, back, sizeof(back)));
    assert_memory_equal(back, bytes, sizeof(bytes));
}

static void what_are_no_digits_changes_nothing(void **state)
{
    static const char *const bad[] = {"", "0", "000", "00000", "000g", "00AF", " 000", "00-1"};
    uint8_t bytes[2] = {7, 7};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(hex_decode(bad[i], bytes, sizeof(bytes)));
        assert_int_equal(bytes[0] + bytes[1], 14);
    }
}

static void a_buffer_grows_and_keeps_what_it_has(void **state)
{
    (void)state;
    CLEANUP_BUFFER struct buffer buffer = {0};
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(buffer_append_format(&buffer, "%04d", i), 0);
    }
    assert_int_equal(buffer.length, 20000);
    assert_memory_equal(buffer.data + 4 * 1234, "1234", 4);
    assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
    buffer_reset(&buffer);
    assert_int_equal(buffer.length, 0);
    assert_int_equal(buffer_append(&buffer, "x", 1), 0);
    assert_int_equal(buffer.data[0], 'x');
    buffer_done(&buffer);
    assert_null(buffer.data);
    buffer_done(&buffer);
}

static void an_impossible_size_is_refused(void **state)
{
    (void)state;
    CLEANUP_BUFFER struct buffer buffer = {0};
    assert_int_equal(buffer_append(&buffer, "abc", 3), 0);
    assert_null(buffer_reserve(&buffer, SIZE_MAX));
    assert_null(buffer_reserve(&buffer, SIZE_MAX / 2));
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.data, "abc", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_uuids_are_valid_and_differ),
        cmocka_unit_test(other_texts_are_no_uuids),
        cmocka_unit_test(bytes_survive_as_digits),
        cmocka_unit_test(what_are_no_digits_changes_nothing),
        cmocka_unit_test(a_buffer_grows_and_keeps_what_it_has),
        cmocka_unit_test(an_impossible_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
