/* JSON from others: what is missing, of another type or out of range is named. */
#include "test.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "scratch.h"

static json_t *parse(const char *text)
{
    struct error err = ERROR_NONE;
    json_t *value = json_parse(text, strlen(text), "test", &err);
    assert_non_null(value);
    return value;
}

static void bad_texts_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "{\"a\": 1, \"a\": 2}",
                                      "{} x",
                                      "{\"a\": \"\\u0000\"}",
                                      "{\"a\": \"\xff\"}",
                                      "7",
                                      "{\"a\": 1e999}",
                                      "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_NONE;
        assert_null(json_parse(bad[i], strlen(bad[i]), "vm.json", &err));
        assert_int_equal(err.code, EINVAL);
        assert_non_null(strstr(err.message, "vm.json is not valid JSON: line "));
    }
    char deep[20000];
    memset(deep, '[', sizeof(deep));
    assert_null(json_parse(deep, sizeof(deep), "vm.json", NULL));
}

static void getters_check_presence_type_and_range(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const char *text = "unchanged";
    int64_t number = 77;
    bool truth = true;
    json_t *list;
    CLEANUP_JSON json_t *object =
        parse("{\"s\": \"x\", \"i\": 5, \"r\": 5.0, \"n\": null, \"b\": false, \"l\": []}");
    assert_int_equal(json_get_string(object, "t", "s", &text, &err), 0);
    assert_string_equal(text, "x");
    assert_int_equal(json_get_string(object, "t", "i", &text, &err), -EINVAL);
    assert_string_equal(err.message, "t: \"i\" must be a string");
    assert_int_equal(json_get_string(object, "t", "n", &text, &err), -EINVAL);
    assert_string_equal(err.message, "t: \"n\" is missing");
    assert_int_equal(json_get_string_or(object, "t", "n", "else", &text, &err), 0);
    assert_string_equal(text, "else");

    assert_int_equal(json_get_integer(object, "t", "i", 5, 5, &number, &err), 0);
    assert_int_equal(number, 5);
    number = 77;
    assert_int_equal(json_get_integer(object, "t", "i", 6, 9, &number, &err), -EINVAL);
    assert_non_null(strstr(err.message, "from 6 to 9"));
    assert_int_equal(json_get_integer(object, "t", "r", 0, 9, &number, &err), -EINVAL);
    assert_int_equal(json_get_integer(object, "t", "x", 0, 9, &number, &err), -EINVAL);
    assert_int_equal(number, 77);
    assert_int_equal(json_get_integer_or(object, "t", "x", 0, 9, 42, &number, &err), 0);
    assert_int_equal(number, 42);

    assert_int_equal(json_get_boolean_or(object, "t", "b", true, &truth, &err), 0);
    assert_false(truth);
    assert_int_equal(json_get_boolean_or(object, "t", "i", true, &truth, &err), -EINVAL);
    assert_int_equal(json_get_array_or_empty(object, "t", "x", &list, &err), 0);
    assert_int_equal(json_array_size(list), 0);
    assert_int_equal(json_get_array_or_empty(object, "t", "s", &list, &err), -EINVAL);
    assert_int_equal(json_get_object_or_null(object, "t", "l", &list, &err), -EINVAL);
    CLEANUP_JSON json_t *array = json_array();
    assert_int_equal(json_get_string(array, "t", "s", &text, &err), -EINVAL);
    assert_int_equal(json_get_string(NULL, "t", "s", &text, &err), -EINVAL);
}

static void a_choice_is_one_of_its_words(void **state)
{
    (void)state;
    static const char *const words[] = {"off", "on", NULL};
    struct error err = ERROR_NONE;
    int index = 7;
    CLEANUP_JSON json_t *object = parse("{\"a\": \"on\", \"b\": \"once\", \"c\": true}");
    assert_int_equal(json_get_choice_or(object, "t", "a", words, 0, &index, &err), 0);
    assert_int_equal(index, 1);
    assert_int_equal(json_get_choice_or(object, "t", "b", words, 0, &index, &err), -EINVAL);
    assert_string_equal(err.message, "t: \"b\" must be off or on, not \"once\"");
    assert_int_equal(json_get_choice_or(object, "t", "c", words, 0, &index, &err), -EINVAL);
    assert_int_equal(index, 1);
    assert_int_equal(json_get_choice_or(object, "t", "d", words, 0, &index, &err), 0);
    assert_int_equal(index, 0);
}

static void unknown_keys_are_named(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    static const char *const keys[] = {"name", "size", NULL};
    CLEANUP_JSON json_t *good = parse("{\"name\": 1}");
    CLEANUP_JSON json_t *bad = parse("{\"name\": 1, \"colour\": 2}");
    assert_int_equal(json_refuse_unknown_keys(good, "t", keys, &err), 0);
    assert_int_equal(json_refuse_unknown_keys(bad, "t", keys, &err), -EINVAL);
    assert_non_null(strstr(err.message, "colour"));
    assert_int_equal(json_refuse_unknown_keys(NULL, "t", keys, &err), -EINVAL);
}

static void errors_travel(void **state)
{
    (void)state;
    struct error sent = ERROR_NONE;
    struct error received = ERROR_NONE;
    error_set(&sent, EBUSY, "it \"runs\"\n");
    error_remedy(&sent, "stop it");
    CLEANUP_JSON json_t *object = json_from_error(&sent);
    assert_int_equal(json_to_error(object, &received), -EBUSY);
    assert_string_equal(received.message, sent.message);
    assert_string_equal(received.remedy, sent.remedy);

    error_set(&sent, ENOENT, "no file caf\xe9");
    CLEANUP_JSON json_t *latin = json_from_error(&sent);
    assert_int_equal(json_to_error(latin, &received), -ENOENT);
    assert_string_equal(received.message, "no file caf?");
}

static void twisted_errors_are_errors(void **state)
{
    (void)state;
    static const char *const twisted[] = {"{}",
                                          "[]",
                                          "{\"error\": 7}",
                                          "{\"error\": {\"code\": 0}}",
                                          "{\"error\": {\"code\": -2, \"message\": []}}",
                                          "{\"error\": {\"message\": \"\"}}",
                                          "{\"error\": {\"code\": 99999999999}}"};
    for (size_t i = 0; i < sizeof(twisted) / sizeof(twisted[0]); i++) {
        struct error err = ERROR_NONE;
        CLEANUP_JSON json_t *object = parse(twisted[i]);
        assert_int_equal(json_to_error(object, &err), -EIO);
        assert_string_equal(err.message, "unknown error");
    }
}

static void files_come_back(void **state)
{
    struct error err = ERROR_NONE;
    char path[128];
    snprintf(path, sizeof(path), "%s/a.json", (const char *)*state);
    CLEANUP_JSON json_t *written = parse("{\"name\": \"gr\\u00fcn\", \"list\": [1, 2.5, null]}");
    assert_int_equal(json_write_file(path, written, 0600, &err), 0);
    CLEANUP_JSON json_t *read = json_read_file(path, 1000, &err);
    assert_true(json_equal(written, read));
    assert_null(json_read_file(path, 10, &err));
    assert_int_equal(err.code, EFBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(getters_check_presence_type_and_range),
        cmocka_unit_test(a_choice_is_one_of_its_words),
        cmocka_unit_test(unknown_keys_are_named),
        cmocka_unit_test(errors_travel),
        cmocka_unit_test(twisted_errors_are_errors),
        scratch_test(files_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
