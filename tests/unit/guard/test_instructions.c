/* What the agent tells the guard. */
#include "test.h"

#include "base/json.h"
#include "guard/instructions.h"
#include "host.h"

#define DATASTORE \
    "{\"name\": \"shared\", \"path\": \"/d/shared\", \"uuid\": \"" HOST_DATASTORE "\"}"

static int parse(const char *text, struct instructions *instructions)
{
    struct error err = ERROR_NONE;
    CLEANUP_JSON json_t *document = json_parse(text, strlen(text), "the test", &err);
    assert_non_null(document);
    int result = instructions_from_json(document, "the test", instructions, &err);
    assert_true((result < 0) == (err.message[0] != '\0'));
    return result;
}

static void whole_instructions(void **state)
{
    (void)state;
    struct instructions read;
    assert_int_equal(parse("{\"host\": \"h1\", \"host_id\": \"abc-1\", \"later\": true, "
                           "\"datastores\": [" DATASTORE "]}",
                           &read),
                     0);
    assert_string_equal(read.host, "h1");
    assert_string_equal(read.host_id, "abc-1");
    assert_int_equal(read.datastore_count, 1);
    assert_string_equal(read.datastores[0].name, "shared");
    assert_string_equal(read.datastores[0].path, "/d/shared");
    assert_string_equal(read.datastores[0].uuid, HOST_DATASTORE);
}

static void no_datastores(void **state)
{
    (void)state;
    struct instructions read;
    assert_int_equal(parse("{\"host\": \"h1\", \"host_id\": \"a\"}", &read), 0);
    assert_int_equal(read.datastore_count, 0);
}

/* Nothing is taken over of instructions of which a part is wrong. */
static void bad_instructions_are_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"host\": \"h1\"}",
        "{\"host\": \"\", \"host_id\": \"a\"}",
        "{\"host\": \"../h1\", \"host_id\": \"a\"}",
        "{\"host\": \"h1\", \"host_id\": 7}",
        "{\"host\": \"h1\", \"host_id\": \"a\", \"datastores\": [7]}",
        "{\"host\": \"h1\", \"host_id\": \"a\", \"datastores\": [" DATASTORE ", {}]}",
        "{\"host\": \"h1\", \"host_id\": \"a\", \"datastores\": [{\"name\": \"x\", \"path\": "
        "\"relative\", \"uuid\": \"" HOST_DATASTORE "\"}]}",
        "{\"host\": \"h1\", \"host_id\": \"a\", \"datastores\": [{\"name\": \"x\", \"path\": "
        "\"/x\", \"uuid\": \"not one\"}]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct instructions read = {.host = "before"};
        assert_int_equal(parse(bad[i], &read), -EINVAL);
        assert_string_equal(read.host, "before");
    }
}

static void too_many_datastores(void **state)
{
    (void)state;
    struct instructions read;
    struct error err = ERROR_NONE;
    CLEANUP_JSON json_t *document =
        json_pack("{s:s, s:s, s:[]}", "host", "h1", "host_id", "a", "datastores");
    CLEANUP_JSON json_t *datastore = json_loads(DATASTORE, 0, NULL);
    for (int i = 0; i <= INSTRUCTIONS_DATASTORES_MOST; i++) {
        json_array_append(json_object_get(document, "datastores"), datastore);
    }
    assert_int_equal(instructions_from_json(document, "the test", &read, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_instructions),
        cmocka_unit_test(no_datastores),
        cmocka_unit_test(bad_instructions_are_refused),
        cmocka_unit_test(too_many_datastores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
