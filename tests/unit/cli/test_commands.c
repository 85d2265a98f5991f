/* The way from words to a command. */
#include "test.h"

#include "cli/command.h"

static int find(const char *first, const char *second, const struct command **command, int *used,
                struct error *err)
{
    char *argv[] = {(char *)first, (char *)second};
    return command_find(second ? 2 : 1, argv, command, used, err);
}

static void finds_commands_of_one_and_two_words(void **state)
{
    (void)state;
    const struct command *command = NULL;
    struct error err = ERROR_NONE;
    int used = 0;
    assert_int_equal(find("vm", "migrate", &command, &used, &err), 0);
    assert_string_equal(command->name, "vm migrate");
    assert_int_equal(used, 2);
    assert_int_equal(find("help", "vm", &command, &used, &err), 0);
    assert_string_equal(command->name, "help");
    assert_int_equal(used, 1);
}

static void knows_a_group_without_its_command(void **state)
{
    (void)state;
    const struct command *command = NULL;
    struct error err = ERROR_NONE;
    int used = 0;
    assert_int_equal(find("vm", NULL, &command, &used, &err), 0);
    assert_null(command);
    assert_int_equal(find("vm", "--help", &command, &used, &err), 0);
    assert_null(command);
    assert_int_equal(used, 1);
}

static void suggests_the_nearest_command(void **state)
{
    (void)state;
    const struct command *command = NULL;
    struct error err = ERROR_NONE;
    int used = 0;
    assert_int_equal(find("vm", "migrat", &command, &used, &err), -EINVAL);
    assert_string_equal(err.message, "there is no command \"vm migrat\"");
    assert_string_equal(err.remedy, "did you mean \"drover vm migrate\"?");
    assert_int_equal(find("taks", "list", &command, &used, &err), -EINVAL);
    assert_string_equal(err.remedy, "did you mean \"drover task\"?");
    assert_int_equal(find("xylophone", NULL, &command, &used, &err), -EINVAL);
    assert_string_equal(err.remedy, "\"drover help\" lists the commands");
}

static void every_command_can_be_found_and_run(void **state)
{
    (void)state;
    for (const struct command *row = commands; row->name; row++) {
        const struct command *command = NULL;
        struct error err = ERROR_NONE;
        char first[32];
        int used = 0;
        size_t length = strcspn(row->name, " ");
        snprintf(first, sizeof(first), "%.*s", (int)length, row->name);
        const char *second = row->name[length] ? row->name + length + 1 : NULL;
        assert_int_equal(find(first, second, &command, &used, &err), 0);
        assert_ptr_equal(command, row);
        assert_non_null(row->run);
        assert_true(row->words_least <= row->words_most);
        assert_true(row->words_most <= ARGUMENTS_WORDS_MOST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_commands_of_one_and_two_words),
        cmocka_unit_test(knows_a_group_without_its_command),
        cmocka_unit_test(suggests_the_nearest_command),
        cmocka_unit_test(every_command_can_be_found_and_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
