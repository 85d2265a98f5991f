/* An echo record survives the journey, and any change to what the client sent shows. */
#include "../test.h"

#include "echo_record.h"

static void a_record_survives(void **state)
{
    struct echo_record sent = {1, 2, 3, UINT64_MAX}, got;
    unsigned char bytes[ECHO_RECORD_BYTES];

    (void)state;
    echo_record_encode(&sent, bytes);
    assert_int_equal(echo_record_decode(bytes, &got), 0);
    assert_memory_equal(&sent, &got, sizeof(sent));
}

static void magic_sequence_and_pattern_are_protected(void **state)
{
    struct echo_record sent = {77, 2, 3, 4}, got;
    unsigned char bytes[ECHO_RECORD_BYTES];

    (void)state;
    for (size_t i = 0; i < ECHO_RECORD_BYTES; i++) {
        if (i >= 16 && i < 40)
            continue;
        echo_record_encode(&sent, bytes);
        bytes[i] ^= 1;
        assert_true(echo_record_decode(bytes, &got) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_survives),
        cmocka_unit_test(magic_sequence_and_pattern_are_protected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
