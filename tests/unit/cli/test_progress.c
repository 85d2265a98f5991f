/* Progress lines: they fit, and never go back. */
#include "test.h"

#include "base/clock.h"
#include "base/json.h"
#include "cli/progress.h"

static json_t *task_at(double fraction)
{
    return json_pack("{s:s,s:s,s:f,s:{s:i,s:i,s:i,s:i,s:i}}", "state", "running", "phase",
                     "pre-copy", "fraction", fraction, "progress", "round", 12, "rate", 1072693248,
                     "dirty_rate", 1072693248, "bytes_remaining", 1072693248, "remaining_ms",
                     3600000);
}

static size_t filled(const char *line)
{
    size_t count = 0;
    for (; *line; line++) {
        count += *line == '#';
    }
    return count;
}

static void bar_and_percentage_never_fall(void **state)
{
    (void)state;
    static const double fractions[] = {0, 0.1, 0.5, 0.3, 0.49, 0.6, -5, 0.2, 7, 0.4};
    struct progress progress = {0};
    size_t bar = 0;
    int percent = 0;
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
        CLEANUP_JSON json_t *task = task_at(fractions[i]);
        progress_format(&progress, task, false, 80, lines);
        int shown = atoi(strchr(lines[0], '%') - 3);
        assert_true(filled(lines[0]) >= bar);
        assert_true(shown >= percent);
        assert_true(shown <= 99);
        bar = filled(lines[0]);
        percent = shown;
    }
    assert_int_equal(percent, 99);
}

static void lines_fit_the_terminal(void **state)
{
    (void)state;
    for (unsigned columns = 20; columns <= 200; columns++) {
        struct progress progress = {0};
        char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
        CLEANUP_JSON json_t *task = task_at(0.5);
        progress_format(&progress, task, columns % 2, columns, lines);
        assert_true(text_width(lines[0]) < columns);
        assert_true(text_width(lines[1]) < columns);
    }
}

static void eighty_columns_cut_nothing_off(void **state)
{
    (void)state;
    struct progress progress = {0};
    char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
    CLEANUP_JSON json_t *task = task_at(0.5);
    progress_format(&progress, task, true, 80, lines);
    assert_non_null(strstr(lines[0], " 50%  about 60 min 0 s left"));
    assert_string_equal(lines[1],
                        "            round 12, 1023 MiB/s, dirty 1023 MiB/s, 1023 MiB to go");
}

static void dirty_rate_is_unknown_in_the_first_round(void **state)
{
    (void)state;
    struct progress progress = {0};
    char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
    CLEANUP_JSON json_t *task = task_at(0.5);
    json_t *details = json_object_get(task, "progress");
    json_object_set_new(details, "dirty_rate", json_integer(0));
    progress_format(&progress, task, false, 80, lines);
    assert_non_null(strstr(lines[1], "round 12, 1023 MiB/s, dirty 0 B/s,"));
    json_object_set_new(details, "round", json_integer(1));
    progress_format(&progress, task, false, 80, lines);
    assert_non_null(strstr(lines[1], "round 1, 1023 MiB/s, dirty -,"));
}

static void hundred_percent_is_for_what_succeeded(void **state)
{
    (void)state;
    struct progress progress = {0};
    char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
    CLEANUP_JSON json_t *task = task_at(1);
    progress_format(&progress, task, false, 80, lines);
    assert_non_null(strstr(lines[0], " 99%"));
    json_object_set_new(task, "state", json_string("succeeded"));
    progress_format(&progress, task, false, 80, lines);
    assert_non_null(strstr(lines[0], "100%"));
}

static void plain_lines_come_with_a_phase_or_a_second(void **state)
{
    (void)state;
    struct progress progress = {0};
    char line[PROGRESS_LINE_SIZE];
    uint64_t now = 100 * NANOSECONDS_PER_SECOND;
    CLEANUP_JSON json_t *task = task_at(0.25);
    assert_true(progress_format_plain(&progress, task, now, line));
    assert_string_equal(line,
                        "pre-copy: 25%, round 12, 1023 MiB/s, dirty 1023 MiB/s, 1023 MiB to go");
    assert_false(progress_format_plain(&progress, task, now + 1, line));
    assert_true(progress_format_plain(&progress, task, now + NANOSECONDS_PER_SECOND, line));
    json_object_set_new(task, "phase", json_string("switchover"));
    json_object_set_new(task, "progress", json_null());
    assert_true(progress_format_plain(&progress, task, now + NANOSECONDS_PER_SECOND + 1, line));
    assert_string_equal(line, "switchover: 25%");
}

static void nonsense_is_shown_as_nothing(void **state)
{
    (void)state;
    struct progress progress = {0};
    char lines[PROGRESS_LINES][PROGRESS_LINE_SIZE];
    CLEANUP_JSON json_t *task =
        json_pack("{s:i,s:s,s:{s:s,s:i,s:b}}", "phase", 5, "fraction", "half", "progress", "round",
                  "one", "rate", -3, "remaining_ms", 1);
    progress_format(&progress, task, false, 80, lines);
    assert_int_equal(filled(lines[0]), 0);
    assert_non_null(strstr(lines[1], "round 0, 0 B/s, dirty -, - to go"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bar_and_percentage_never_fall),
        cmocka_unit_test(lines_fit_the_terminal),
        cmocka_unit_test(eighty_columns_cut_nothing_off),
        cmocka_unit_test(dirty_rate_is_unknown_in_the_first_round),
        cmocka_unit_test(hundred_percent_is_for_what_succeeded),
        cmocka_unit_test(plain_lines_come_with_a_phase_or_a_second),
        cmocka_unit_test(nonsense_is_shown_as_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
