/* Arguments are found by their whole name; amounts are read whole or refused. */
#include "../test.h"

#include "options.h"

static void the_last_one_of_a_whole_name_counts(void **state)
{
    char *argv[] = {"program", "rate=1", "verify-rate=2", "rate=3", NULL};

    (void)state;
    assert_string_equal(option_text(argv, "rate", "4"), "3");
    assert_string_equal(option_text(argv, "verify-rate", "4"), "2");
    assert_string_equal(option_text(argv, "verify", "4"), "4");
}

static void amounts_have_suffixes(void **state)
{
    uint64_t bytes;

    (void)state;
    assert_int_equal(bytes_parse("12", &bytes), 0);
    assert_int_equal(bytes, 12);
    assert_int_equal(bytes_parse("3k", &bytes), 0);
    assert_int_equal(bytes, 3072);
    assert_int_equal(bytes_parse("2G", &bytes), 0);
    assert_int_equal(bytes, 2ull << 30);
}

static void nonsense_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "M", "-1", "+1", " 1", "1X", "1MB", "1.5G", "99999999999999999999", "9999999999G",
    };
    uint64_t bytes;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_true(bytes_parse(texts[i], &bytes) < 0);
}

static void a_rate_may_be_max(void **state)
{
    uint64_t rate;

    (void)state;
    assert_int_equal(rate_parse("max", &rate), 0);
    assert_int_equal(rate, RATE_MAX);
    assert_true(rate_parse("maximum", &rate) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_one_of_a_whole_name_counts),
        cmocka_unit_test(amounts_have_suffixes),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(a_rate_may_be_max),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
