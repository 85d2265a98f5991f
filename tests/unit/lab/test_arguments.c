/* Options and words of the lab's commands, above all where another program's begin. */
#include "test.h"

#include "lab/command.h"

static const struct lab_command_row up = {.name = "up", .words = "[--name NAME]"};
static const struct lab_command_row exec = {.name = "exec",
                                            .words = "HOST COMMAND...",
                                            .words_least = 2,
                                            .words_most = 100,
                                            .takes_command = true};

#define PARSE(row, arguments, err, ...)                                                           \
    __extension__({                                                                               \
        static char *argv_[16];                                                                   \
        char *words_[] = {__VA_ARGS__, NULL};                                                     \
        memcpy(argv_, words_, sizeof(words_));                                                    \
        lab_arguments_parse(row, (int)(sizeof(words_) / sizeof(words_[0])) - 1, argv_, arguments, \
                            err);                                                                 \
    })

static void defaults(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    char *none[] = {NULL};
    assert_int_equal(lab_arguments_parse(&up, 0, none, &arguments, &err), 0);
    assert_string_equal(arguments.lab_name, "lab");
    assert_int_equal(arguments.hosts, 3);
    assert_true(arguments.agents);
    assert_false(arguments.json);
}

static void options(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    assert_int_equal(PARSE(&up, &arguments, &err, "--hosts", "5", "--no-agents", "--name", "x"), 0);
    assert_int_equal(arguments.hosts, 5);
    assert_false(arguments.agents);
    assert_string_equal(arguments.lab_name, "x");
}

static void leases(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    assert_int_equal(PARSE(&up, &arguments, &err, "--hosts", "1"), 0);
    assert_null(arguments.lease.kind);
    assert_int_equal(arguments.lease.heartbeat_ms, 0);
    assert_int_equal(
        PARSE(&up, &arguments, &err, "--lease-kind", "file", "--lease-times", "500,4000,7000"), 0);
    assert_string_equal(arguments.lease.kind, "file");
    assert_int_equal(arguments.lease.heartbeat_ms, 500);
    assert_int_equal(arguments.lease.stop_after_ms, 4000);
    assert_int_equal(arguments.lease.takeover_ms, 7000);
    assert_int_equal(PARSE(&up, &arguments, &err, "--lease-kind", "hope"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--lease-times", "500,4000"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--lease-times", "500,4000,7000,1"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--lease-times"), -EINVAL);
}

static void the_other_program_keeps_its_options(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    assert_int_equal(
        PARSE(&exec, &arguments, &err, "--name", "x", "h1", "ls", "--json", "--", "-l"), 0);
    assert_string_equal(arguments.lab_name, "x");
    assert_false(arguments.json);
    assert_int_equal(arguments.word_count, 5);
    assert_string_equal(arguments.words[0], "h1");
    assert_string_equal(arguments.words[1], "ls");
    assert_string_equal(arguments.words[2], "--json");
    assert_string_equal(arguments.words[3], "--");
    assert_string_equal(arguments.words[4], "-l");
    assert_null(arguments.words[5]);
}

static void two_dashes_before_the_command_are_not_its(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    assert_int_equal(PARSE(&exec, &arguments, &err, "h1", "--", "ls"), 0);
    assert_int_equal(arguments.word_count, 2);
    assert_string_equal(arguments.words[1], "ls");
    assert_null(arguments.words[2]);
}

static void bad_lines_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct lab_arguments arguments;
    assert_int_equal(PARSE(&up, &arguments, &err, "word"), -EINVAL);
    assert_non_null(strstr(err.message, "too many"));
    assert_int_equal(PARSE(&exec, &arguments, &err, "h1"), -EINVAL);
    assert_non_null(strstr(err.remedy, "drover lab exec"));
    assert_int_equal(PARSE(&up, &arguments, &err, "--name"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--hosts", "65"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--hosts", "-1"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--hosts", ""), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--hosts", "3x"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--migration-networks", "3"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--migration-networks"), -EINVAL);
    assert_int_equal(PARSE(&up, &arguments, &err, "--other"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(options),
        cmocka_unit_test(leases),
        cmocka_unit_test(the_other_program_keeps_its_options),
        cmocka_unit_test(two_dashes_before_the_command_are_not_its),
        cmocka_unit_test(bad_lines_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
