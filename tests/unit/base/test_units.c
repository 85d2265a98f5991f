/* Sizes and durations are read strictly and written as people write them. */
#include "test.h"

#include "base/clock.h"
#include "base/units.h"

static void assert_size(const char *text, uint64_t expected)
{
    uint64_t bytes = 0;
    struct error err = ERROR_NONE;
    if (units_parse_size(text, &bytes, &err) < 0 || bytes != expected) {
        fail_msg("%s is %llu: %s", text, (unsigned long long)bytes, err.message);
    }
}

static void sizes_are_read(void **state)
{
    (void)state;
    assert_size("0", 0);
    assert_size("4096", 4096);
    assert_size("512M", 512ULL << 20);
    assert_size("2g", 2ULL << 30);
    assert_size("1.5G", 3ULL << 29);
    assert_size("10KiB", 10240);
    assert_size("10kb", 10240);
    assert_size("3TiB", 3ULL << 40);
    assert_size(".5K", 512);
}

static void junk_is_no_size(void **state)
{
    (void)state;
    static const char *const junk[] = {
        "",   " ",    "-1",    " -5",      "+5",   "5 G",   "0x10", "1e3",      "nan",       "inf",
        "G",  "5X",   "5GG",   "5GiBs",    "1..5", "1.5.5", ".",    "5\n",      "99999999T", "5iB",
        "١٢", "5,5G", "1_000", "infinity", "5G ",  "--5",   "1e-3", "\xff\xff", "5 ",        "5Ki"};
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        uint64_t bytes = 77;
        struct error err = ERROR_NONE;
        if (units_parse_size(junk[i], &bytes, &err) != -EINVAL || bytes != 77) {
            fail_msg("\"%s\" is taken as %llu bytes", junk[i], (unsigned long long)bytes);
        }
        assert_string_not_equal(err.remedy, "");
        assert_int_equal(units_parse_size(junk[i], &bytes, NULL), -EINVAL);
    }
}

static void assert_written(uint64_t bytes, const char *expected)
{
    char text[32];
    units_format_size(bytes, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void sizes_are_written(void **state)
{
    (void)state;
    assert_written(0, "0 B");
    assert_written(1023, "1023 B");
    assert_written(1024, "1.0 KiB");
    assert_written(210 << 10, "210 KiB");
    assert_written((1 << 20) - 1, "1.0 MiB");
    assert_written(3ULL << 29, "1.5 GiB");
    assert_written((100ULL << 30) - 1, "100 GiB");
    assert_written(UINT64_MAX, "16384 PiB");
}

static void assert_duration(uint64_t nanoseconds, const char *expected)
{
    char text[32];
    units_format_duration(nanoseconds, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void durations_are_written(void **state)
{
    (void)state;
    assert_duration(0, "0.0 ms");
    assert_duration(4700000, "4.7 ms");
    assert_duration(9990000, "10 ms");
    assert_duration(450 * NANOSECONDS_PER_MILLISECOND, "450 ms");
    assert_duration(999900000, "1.0 s");
    assert_duration(12300 * NANOSECONDS_PER_MILLISECOND, "12.3 s");
    assert_duration(59990 * NANOSECONDS_PER_MILLISECOND, "1 min 0 s");
    assert_duration(200 * NANOSECONDS_PER_SECOND, "3 min 20 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(junk_is_no_size),
        cmocka_unit_test(sizes_are_written),
        cmocka_unit_test(durations_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
