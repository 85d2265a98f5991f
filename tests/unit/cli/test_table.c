/* Tables: aligned, cut only where a terminal asks for it, safe to print. */
#include "test.h"

#include "cli/table.h"

static const struct table_column columns[] = {{"NAME", TABLE_LEFT}, {"MEMORY", TABLE_RIGHT}};

/* What the table prints; the caller frees it. */
static char *printed(const struct table *table, bool interactive)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    const struct terminal terminal = {.stream = stream, .interactive = interactive};
    table_print(table, &terminal, 0);
    fclose(stream);
    return text;
}

static void columns_are_aligned(void **state)
{
    (void)state;
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = 2};
    assert_int_equal(table_add(&table, (const char *[]){"web1", "512 MiB"}), 0);
    assert_int_equal(table_add(&table, (const char *[]){"database", "2.0 GiB"}), 0);
    char *text = printed(&table, false);
    assert_string_equal(text, "NAME       MEMORY\n"
                              "web1      512 MiB\n"
                              "database  2.0 GiB\n");
    free(text);
}

static void optional_columns_appear_when_they_have_something_to_say(void **state)
{
    (void)state;
    static const struct table_column three[] = {
        {"NAME", TABLE_LEFT}, {"PROBLEM", TABLE_LEFT, true}, {"STATE", TABLE_LEFT}};
    CLEANUP_TABLE struct table table = {.columns = three, .column_count = 3};
    assert_int_equal(table_add(&table, (const char *[]){"web1", "", "ok"}), 0);
    char *without = printed(&table, false);
    assert_string_equal(without, "NAME  STATE\nweb1  ok\n");
    assert_int_equal(table_add(&table, (const char *[]){"web2", "bad", ""}), 0);
    char *with = printed(&table, false);
    assert_string_equal(with, "NAME  PROBLEM  STATE\nweb1           ok\nweb2  bad\n");
    free(without);
    free(with);
}

static void only_a_terminal_cuts_long_names(void **state)
{
    (void)state;
    char name[201];
    memset(name, 'x', 200);
    name[200] = '\0';
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = 2};
    assert_int_equal(table_add(&table, (const char *[]){name, "512 MiB"}), 0);
    char *whole = printed(&table, false);
    char *cut = printed(&table, true);
    assert_non_null(strstr(whole, name));
    assert_non_null(strstr(cut, "xxx...  512 MiB\n"));
    for (const char *line = cut; *line; line = strchr(line, '\n') + 1) {
        assert_true(strcspn(line, "\n") <= 80);
    }
    free(whole);
    free(cut);
}

static void control_characters_are_replaced(void **state)
{
    (void)state;
    CLEANUP_TABLE struct table table = {.columns = columns, .column_count = 2};
    assert_int_equal(table_add(&table, (const char *[]){"a\033[2Jb", "\n"}), 0);
    char *text = printed(&table, false);
    assert_null(strchr(text, '\033'));
    assert_non_null(strstr(text, "a?[2Jb       ?\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(optional_columns_appear_when_they_have_something_to_say),
        cmocka_unit_test(only_a_terminal_cuts_long_names),
        cmocka_unit_test(control_characters_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
