/* Options from a table: values attached and separate, and every way to get them wrong. */
#include "test.h"

#include "cli/arguments.h"

static const struct option_spec own[] = {
    {"--memory", "SIZE", ""}, {"--disk", "SIZE", ""}, {"--force", NULL, ""}, {NULL}};
static const struct option_spec common[] = {{"--json", NULL, ""}, {"--help", NULL, ""}, {NULL}};

#define PARSE(arguments, err, ...)                                           \
    arguments_parse(arguments, own, common,                                  \
                    (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), \
                    (char *[]){__VA_ARGS__}, err)

static void takes_options_and_words_in_any_order(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    assert_int_equal(
        PARSE(&arguments, &err, "--force", "web1", "--memory", "1G", "--json", "--disk=2G"), 0);
    assert_int_equal(arguments.word_count, 1);
    assert_string_equal(arguments.words[0], "web1");
    assert_string_equal(arguments_value(&arguments, "--memory"), "1G");
    assert_string_equal(arguments_value(&arguments, "--disk"), "2G");
    assert_true(arguments_has(&arguments, "--force"));
    assert_true(arguments_has(&arguments, "--json"));
    assert_false(arguments_has(&arguments, "--help"));
}

static void keeps_repeated_options_in_order_and_the_last_value_counts(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    assert_int_equal(PARSE(&arguments, &err, "--disk", "1G", "--disk", "2G"), 0);
    assert_int_equal(arguments.option_count, 2);
    assert_string_equal(arguments.options[0].value, "1G");
    assert_string_equal(arguments_value(&arguments, "--disk"), "2G");
}

static void takes_all_as_words_after_two_dashes(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    assert_int_equal(PARSE(&arguments, &err, "--", "--force", "-x"), 0);
    assert_int_equal(arguments.word_count, 2);
    assert_false(arguments_has(&arguments, "--force"));
}

static void suggests_the_nearest_option(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    assert_int_equal(PARSE(&arguments, &err, "--memry=1G"), -EINVAL);
    assert_string_equal(err.message, "there is no option \"--memry\" here");
    assert_string_equal(err.remedy, "did you mean --memory?");
}

static void refuses_missing_and_unwanted_values(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    assert_int_equal(PARSE(&arguments, &err, "--memory"), -EINVAL);
    assert_string_equal(err.message, "option --memory needs a value: SIZE");
    assert_int_equal(PARSE(&arguments, &err, "--force=yes"), -EINVAL);
    assert_string_equal(err.message, "option --force takes no value");
}

static void refuses_more_than_it_can_hold(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    char *words[ARGUMENTS_WORDS_MOST + 1];
    char *options[ARGUMENTS_OPTIONS_MOST + 1];
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        words[i] = "word";
    }
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        options[i] = "--force";
    }
    assert_int_equal(
        arguments_parse(&arguments, own, common, ARGUMENTS_WORDS_MOST + 1, words, &err), -EINVAL);
    assert_int_equal(
        arguments_parse(&arguments, own, common, ARGUMENTS_OPTIONS_MOST + 1, options, &err),
        -EINVAL);
}

static void leading_options_end_at_the_first_word(void **state)
{
    (void)state;
    struct arguments arguments = {0};
    struct error err = ERROR_NONE;
    char *argv[] = {"--json", "vm", "--help"};
    assert_int_equal(arguments_parse_leading(&arguments, common, 3, argv, &err), 1);
    assert_int_equal(arguments.word_count, 0);
    assert_false(arguments_has(&arguments, "--help"));
}

static void reads_numbers_within_their_range(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "x",  "5x",  "0",
                                      "101", "-5", "1e2", "99999999999999999999"};
    struct error err = ERROR_NONE;
    int64_t value = 7;
    struct arguments arguments = {0};
    assert_int_equal(arguments_integer(&arguments, "--memory", 1, 100, &value, &err), 0);
    assert_int_equal(value, 7);
    assert_int_equal(PARSE(&arguments, &err, "--memory", "100"), 0);
    assert_int_equal(arguments_integer(&arguments, "--memory", 1, 100, &value, &err), 0);
    assert_int_equal(value, 100);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        arguments.options[0].value = bad[i];
        assert_int_equal(arguments_integer(&arguments, "--memory", 1, 100, &value, &err), -EINVAL);
        assert_int_equal(value, 100);
    }
}

static void a_choice_is_one_of_its_words(void **state)
{
    (void)state;
    static const char *const words[] = {"few", "some", "many", NULL};
    struct error err = ERROR_NONE;
    int index = 7;
    struct arguments arguments = {0};
    assert_int_equal(arguments_choice(&arguments, "--memory", words, &index, &err), 0);
    assert_int_equal(index, 7);
    assert_int_equal(PARSE(&arguments, &err, "--memory", "many"), 0);
    assert_int_equal(arguments_choice(&arguments, "--memory", words, &index, &err), 0);
    assert_int_equal(index, 2);
    arguments.options[0].value = "man";
    assert_int_equal(arguments_choice(&arguments, "--memory", words, &index, &err), -EINVAL);
    assert_int_equal(index, 2);
    assert_string_equal(err.message, "--memory cannot be \"man\"");
    assert_string_equal(err.remedy, "use few, some or many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_options_and_words_in_any_order),
        cmocka_unit_test(keeps_repeated_options_in_order_and_the_last_value_counts),
        cmocka_unit_test(takes_all_as_words_after_two_dashes),
        cmocka_unit_test(suggests_the_nearest_option),
        cmocka_unit_test(refuses_missing_and_unwanted_values),
        cmocka_unit_test(refuses_more_than_it_can_hold),
        cmocka_unit_test(leading_options_end_at_the_first_word),
        cmocka_unit_test(reads_numbers_within_their_range),
        cmocka_unit_test(a_choice_is_one_of_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
