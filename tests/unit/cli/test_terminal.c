/* Text for terminals: widths, cuts, wraps, suggestions. */
#include "test.h"

#include "cli/terminal.h"

static void width_counts_characters(void **state)
{
    (void)state;
    assert_int_equal(text_width(""), 0);
    assert_int_equal(text_width("abc"), 3);
    assert_int_equal(text_width("a→█é"), 4);
}

static void fitting_cuts_at_whole_characters(void **state)
{
    (void)state;
    char text[32];
    text_fit("short", 5, true, text, sizeof(text));
    assert_string_equal(text, "short");
    text_fit("éééééé", 4, true, text, sizeof(text));
    assert_string_equal(text, "ééé…");
    text_fit("abcdefgh", 6, false, text, sizeof(text));
    assert_string_equal(text, "abc...");
}

static void cleaning_replaces_every_control(void **state)
{
    (void)state;
    char text[32];
    text_clean("a\033\007\177\xC2\x9B"
               "b→",
               text, sizeof(text));
    assert_string_equal(text, "a????b→");
    text_clean("12345→", text, 8);
    assert_string_equal(text, "12345");
}

static void wrapping_keeps_words_whole(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    const struct terminal terminal = {.stream = stream};
    terminal_print_wrapped(&terminal, "one two three averyverylongword four", 3, 2, 12);
    fclose(stream);
    assert_string_equal(text, "one two\n  three\n  averyverylongword\n  four\n");
    free(text);
}

static void nearest_is_near_or_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {"list", "show", "console", NULL};
    assert_string_equal(text_nearest("lst", words), "list");
    assert_string_equal(text_nearest("konsole", words), "console");
    assert_null(text_nearest("xylophone", words));
    assert_null(text_nearest("x", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(width_counts_characters),
        cmocka_unit_test(fitting_cuts_at_whole_characters),
        cmocka_unit_test(cleaning_replaces_every_control),
        cmocka_unit_test(wrapping_keeps_words_whole),
        cmocka_unit_test(nearest_is_near_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
