/* Errors keep their words, code and remedy on the way up. */
#include "test.h"

#include "base/error.h"

static void a_failure_has_code_and_words(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    assert_int_equal(error_set(&err, ENOENT, "no VM %s", "web1"), -ENOENT);
    assert_int_equal(error_set(&err, -ENOENT, "no VM %s", "web1"), -ENOENT);
    assert_int_equal(err.code, ENOENT);
    assert_string_equal(err.message, "no VM web1");
    assert_int_equal(error_set_errno(&err, -EACCES, "cannot open %s", "x"), -EACCES);
    assert_string_equal(err.message, "cannot open x: Permission denied");
}

static void a_failure_is_never_zero(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    assert_int_equal(error_set(&err, 0, "lost errno"), -EIO);
    assert_int_equal(err.code, EIO);
    assert_int_equal(error_set(NULL, 0, "lost errno"), -EIO);
    err = ERROR_NONE;
    assert_int_equal(error_wrap(&err, "h1"), -EIO);
    assert_int_equal(error_remedy(&err, "try"), -EIO);
}

static void context_comes_first_and_the_remedy_stays(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    error_set(&err, EBUSY, "it runs");
    error_remedy(&err, "stop it");
    assert_int_equal(error_wrap(&err, "cannot remove %s", "web1"), -EBUSY);
    assert_int_equal(error_wrap(&err, "host %s", "h1"), -EBUSY);
    assert_string_equal(err.message, "host h1: cannot remove web1: it runs");
    assert_string_equal(err.remedy, "stop it");
    error_set(&err, EBUSY, "again");
    assert_string_equal(err.remedy, "");
}

static void the_old_words_may_be_part_of_the_new(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    error_set(&err, EIO, "disk failed");
    error_remedy(&err, "replace it");
    error_set(&err, EIO, "[%s] (%s)", err.message, err.remedy);
    assert_string_equal(err.message, "[disk failed] (replace it)");
    error_remedy(&err, "see: %s", err.message);
    assert_string_equal(err.remedy, "see: [disk failed] (replace it)");
}

static void endless_words_are_cut(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    char words[2000];
    memset(words, 'x', sizeof(words) - 1);
    words[sizeof(words) - 1] = '\0';
    error_set_errno(&err, EIO, "%s", words);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    error_wrap(&err, "%s", words);
    error_remedy(&err, "%s", words);
    assert_int_equal(strlen(err.remedy), sizeof(err.remedy) - 1);
}

static void codes_become_statuses(void **state)
{
    (void)state;
    assert_int_equal(error_http_status(EINVAL), 400);
    assert_int_equal(error_http_status(-ENOENT), 404);
    assert_int_equal(error_http_status(EXDEV), 400);
    assert_int_equal(error_http_status(ELOOP), 400);
    assert_int_equal(error_http_status(EFBIG), 413);
    assert_int_equal(error_http_status(EIO), 500);
    assert_int_equal(error_exit_status(ENOENT), 3);
    assert_int_equal(error_exit_status(-ETIMEDOUT), 8);
    assert_int_equal(error_exit_status(EIO), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_has_code_and_words),
        cmocka_unit_test(a_failure_is_never_zero),
        cmocka_unit_test(context_comes_first_and_the_remedy_stays),
        cmocka_unit_test(the_old_words_may_be_part_of_the_new),
        cmocka_unit_test(endless_words_are_cut),
        cmocka_unit_test(codes_become_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
