/* Which call a path is, and what its query says. */
#include "test.h"

#include "http/request.h"

static const struct route routes[] = {
    {REQUEST_GET, "/v1/vms", NULL},       {REQUEST_POST, "/v1/vms", NULL},
    {REQUEST_GET, "/v1/vms/{}", NULL},    {REQUEST_POST, "/v1/vms/{}/start", NULL},
    {REQUEST_POST, "/v1/{}/of/{}", NULL},
};
#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

static struct request request_for(enum request_method method, const char *path)
{
    struct request request = {.method = method};
    snprintf(request.path, sizeof(request.path), "%s", path);
    return request;
}

static void a_call_is_found_by_method_and_path(void **state)
{
    struct error err = ERROR_NONE;
    struct request request = request_for(REQUEST_POST, "/v1/vms");
    (void)state;
    assert_ptr_equal(route_find(routes, ROUTE_COUNT, &request, &err), &routes[1]);
    request = request_for(REQUEST_POST, "/v1/vms/web1/start");
    assert_ptr_equal(route_find(routes, ROUTE_COUNT, &request, &err), &routes[3]);
    assert_string_equal(request.parameters[0], "web1");
    request = request_for(REQUEST_POST, "/v1/left/of/right");
    assert_ptr_equal(route_find(routes, ROUTE_COUNT, &request, &err), &routes[4]);
    assert_string_equal(request.parameters[0], "left");
    assert_string_equal(request.parameters[1], "right");
}

static void another_path_is_nowhere(void **state)
{
    static const char *const paths[] = {"",
                                        "/",
                                        "/v1",
                                        "/v1/vm",
                                        "/v1/vms/",
                                        "/v1/vmss",
                                        "v1/vms",
                                        "/v1/vms/web1/stop",
                                        "/v1/vms/web1/start/now",
                                        "//v1/vms"};
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct error err = ERROR_NONE;
        struct request request = request_for(REQUEST_GET, paths[i]);
        assert_null(route_find(routes, ROUTE_COUNT, &request, &err));
        assert_int_equal(request_error_status(err.code), 404);
    }
}

static void another_method_is_told_from_another_path(void **state)
{
    struct error err = ERROR_NONE;
    struct request request = request_for(REQUEST_DELETE, "/v1/vms/web1/start");
    (void)state;
    assert_null(route_find(routes, ROUTE_COUNT, &request, &err));
    assert_int_equal(request_error_status(err.code), 405);
}

static void a_name_that_is_too_long_matches_nothing(void **state)
{
    char name[REQUEST_PARAMETER_SIZE + 1];
    char path[REQUEST_PATH_SIZE];
    struct error err = ERROR_NONE;
    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(path, sizeof(path), "/v1/vms/%s", name);
    struct request request = request_for(REQUEST_GET, path);
    assert_null(route_find(routes, ROUTE_COUNT, &request, &err));
    request.path[strlen(request.path) - 1] = '\0'; /* one less fits */
    assert_non_null(route_find(routes, ROUTE_COUNT, &request, &err));
}

static int query(const char *text, const char *key, int64_t *ret_value)
{
    struct error err = ERROR_NONE;
    struct request request = {0};
    snprintf(request.query, sizeof(request.query), "%s", text);
    return request_query_integer(&request, key, 0, 1000, 7, ret_value, &err);
}

static void numbers_are_read_from_the_query(void **state)
{
    int64_t value;
    (void)state;
    assert_int_equal(query("after=3&wait_ms=1000", "wait_ms", &value), 0);
    assert_int_equal(value, 1000);
    assert_int_equal(query("after=3&wait_ms=1000", "after", &value), 0);
    assert_int_equal(value, 3);
    assert_int_equal(query("thereafter=3", "after", &value), 0);
    assert_int_equal(value, 7);
    assert_int_equal(query("", "after", &value), 0);
    assert_int_equal(value, 7);
}

static void what_is_no_number_in_range_is_refused(void **state)
{
    static const char *const texts[] = {"after=",   "after=x",    "after=1x",
                                        "after=-1", "after=1001", "after=99999999999999999999"};
    int64_t value;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(query(texts[i], "after", &value), -EINVAL);
    }
}

static void each_call_is_for_some(void **state)
{
    static const struct {
        enum caller_kind kind;
        bool is_peer;
        int results[4]; /* by enum access */
    } rows[] = {
        {CALLER_OPERATOR, false, {0, 0, 0, 0}},
        {CALLER_HOST, true, {-EACCES, 0, 0, 0}},
        {CALLER_HOST, false, {-EACCES, -EACCES, 0, 0}},
        {CALLER_NOBODY, false, {-EKEYREJECTED, -EKEYREJECTED, -EKEYREJECTED, 0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct caller caller = {.kind = rows[i].kind, .name = "h2"};
        for (int access = ACCESS_OPERATOR; access <= ACCESS_ANYONE; access++) {
            struct error err = ERROR_NONE;
            assert_int_equal(
                request_check_access(&caller, (enum access)access, rows[i].is_peer, "h1", &err),
                rows[i].results[access]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_is_for_some),
        cmocka_unit_test(a_call_is_found_by_method_and_path),
        cmocka_unit_test(another_path_is_nowhere),
        cmocka_unit_test(another_method_is_told_from_another_path),
        cmocka_unit_test(a_name_that_is_too_long_matches_nothing),
        cmocka_unit_test(numbers_are_read_from_the_query),
        cmocka_unit_test(what_is_no_number_in_range_is_refused),
    };
    return cmocka_run_group_tests_name("agent-request", tests, NULL, NULL);
}
