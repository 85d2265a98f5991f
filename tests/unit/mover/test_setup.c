/* The setup document: what goes in comes out, and what is wrong is refused by name. */
#include "test.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "mover/setup_document.h"

static struct mover_setup example(enum mover_role role)
{
    struct mover_setup setup = {.role = role,
                                .move_id = "7f9c2d3e-1111-4222-8333-444455556666",
                                .vm_name = "web-1",
                                .memory_size = (uint64_t)1 << 30,
                                .memory_fd = 5,
                                .qmp_fd = 6,
                                .nics = {{7, "52:54:00:00:00:01"}, {8, "52:54:00:00:00:02"}},
                                .nic_count = 2,
                                .userfaultfd = 9,
                                .pagemap_fd = 10,
                                .watch_fd = 11,
                                .pacing_fd = 12,
                                .processor_fd = 13,
                                .memory_address = 0x7f0000000000,
                                .sample_ns = 75,
                                .paths = {{"", "10.0.0.2", 4242}, {"10.1.0.1", "10.1.0.2", 4243}},
                                .path_count = 2,
                                .options = {.blackout_target_ns = 50,
                                            .timeout_ns = 60,
                                            .on_timeout = ENGINE_ON_TIMEOUT_STOP,
                                            .pace = true,
                                            .channels = 4,
                                            .bandwidth_limit = 80,
                                            .device_state_ns = 90},
                                .listen_fds = {12, 13},
                                .listen_count = 2,
                                .silence_limit_ns = 70};
    for (int i = 0; i < ENGINE_TOKEN_SIZE; i++) {
        setup.token[i] = (uint8_t)(i * 7);
    }
    return setup;
}

static void a_source_survives_the_way(void **state)
{
    (void)state;
    struct mover_setup sent = example(MOVER_ROLE_SOURCE);
    struct mover_setup got;
    struct error err = ERROR_NONE;
    CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
    assert_int_equal(mover_setup_decode(document, &got, &err), 0);
    assert_int_equal(got.role, MOVER_ROLE_SOURCE);
    assert_string_equal(got.move_id, sent.move_id);
    assert_string_equal(got.options.move_id, sent.move_id);
    assert_memory_equal(got.token, sent.token, sizeof(sent.token));
    assert_memory_equal(got.options.token, sent.token, sizeof(sent.token));
    assert_int_equal(got.memory_address, sent.memory_address);
    assert_int_equal(got.watch_fd, sent.watch_fd);
    assert_int_equal(got.pacing_fd, sent.pacing_fd);
    assert_int_equal(got.processor_fd, sent.processor_fd);
    assert_int_equal(got.nic_count, 2);
    assert_string_equal(got.nics[1].mac, sent.nics[1].mac);
    assert_int_equal(got.path_count, 2);
    assert_memory_equal(got.paths, sent.paths, sizeof(sent.paths));
}

static void the_options_of_a_move_survive_the_way(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        struct mover_setup sent = example(MOVER_ROLE_SOURCE);
        struct mover_setup got;
        sent.options.pace = on;
        sent.options.compress = !on;
        sent.options.on_timeout = on ? ENGINE_ON_TIMEOUT_STOP : ENGINE_ON_TIMEOUT_ABORT;
        CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
        assert_int_equal(mover_setup_decode(document, &got, NULL), 0);
        assert_int_equal(got.options.blackout_target_ns, 50);
        assert_int_equal(got.options.timeout_ns, 60);
        assert_int_equal(got.options.on_timeout, sent.options.on_timeout);
        assert_int_equal(got.options.pace, on);
        assert_int_equal(got.options.compress, !on);
        assert_int_equal(got.options.channels, 4);
        assert_int_equal(got.options.bandwidth_limit, 80);
        assert_int_equal(got.options.device_state_ns, 90);
    }
}

static void a_source_may_be_unable_to_pace(void **state)
{
    (void)state;
    struct mover_setup sent = example(MOVER_ROLE_SOURCE);
    struct mover_setup got;
    sent.pacing_fd = -1;
    sent.processor_fd = -1;
    CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
    assert_int_equal(mover_setup_decode(document, &got, NULL), 0);
    assert_int_equal(got.pacing_fd, -1);
    assert_int_equal(got.processor_fd, -1);
}

static void a_destination_survives_the_way(void **state)
{
    (void)state;
    struct mover_setup sent = example(MOVER_ROLE_DESTINATION);
    struct mover_setup got;
    CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
    assert_int_equal(mover_setup_decode(document, &got, NULL), 0);
    assert_int_equal(got.role, MOVER_ROLE_DESTINATION);
    assert_int_equal(got.listen_count, 2);
    assert_int_equal(got.listen_fds[0], 12);
    assert_int_equal(got.listen_fds[1], 13);
    assert_int_equal(got.silence_limit_ns, 70);
}

static void a_key_survives_the_way(void **state)
{
    (void)state;
    for (enum mover_role role = MOVER_ROLE_SOURCE; role <= MOVER_ROLE_DESTINATION; role++) {
        struct mover_setup sent = example(role);
        struct mover_setup got;
        memset(sent.key, 0xa5, sizeof(sent.key));
        CLEANUP_JSON json_t *plain = mover_setup_encode(&sent);
        assert_null(json_object_get(plain, "key")); /* what is not used is not told */
        assert_int_equal(mover_setup_decode(plain, &got, NULL), 0);
        assert_false(got.encrypted);
        sent.encrypted = true;
        CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
        assert_int_equal(mover_setup_decode(document, &got, NULL), 0);
        assert_true(got.encrypted);
        assert_memory_equal(got.key, sent.key, sizeof(sent.key));
    }
}

/* The message must not repeat what may be most of a key. */
static void a_key_that_is_none_is_refused_and_not_repeated(void **state)
{
    static const char *const wrong[] = {
        "", "a5", "A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5",
        "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct mover_setup sent = example(MOVER_ROLE_SOURCE);
        struct mover_setup got;
        struct error err = ERROR_NONE;
        CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
        json_object_set_new(document, "key", json_string(wrong[i]));
        assert_int_equal(mover_setup_decode(document, &got, &err), -EINVAL);
        assert_non_null(strstr(err.message, "\"key\""));
        assert_null(strcasestr(err.message, "a5a5"));
    }
    struct mover_setup sent = example(MOVER_ROLE_SOURCE);
    struct mover_setup got;
    CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
    json_object_set_new(document, "key", json_null());
    assert_int_equal(mover_setup_decode(document, &got, NULL), -EINVAL);
}

/* Nothing of a move is in it, the token least of all. */
static void a_sample_takes_only_what_it_needs(void **state)
{
    (void)state;
    struct mover_setup sent = example(MOVER_ROLE_SAMPLE);
    struct mover_setup got;
    CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
    assert_null(json_object_get(document, "token"));
    assert_null(json_object_get(document, "qmp_fd"));
    assert_int_equal(mover_setup_decode(document, &got, NULL), 0);
    assert_int_equal(got.role, MOVER_ROLE_SAMPLE);
    assert_string_equal(got.vm_name, sent.vm_name);
    assert_int_equal(got.memory_size, sent.memory_size);
    assert_int_equal(got.userfaultfd, 9);
    assert_int_equal(got.pagemap_fd, 10);
    assert_int_equal(got.watch_fd, 11);
    assert_int_equal(got.sample_ns, 75);
}

static void a_native_move_survives_the_way_without_tracking(void **state)
{
    (void)state;
    struct mover_setup sent = example(MOVER_ROLE_SOURCE);
    struct mover_setup got;
    sent.engine = MOVER_ENGINE_NATIVE;
    CLEANUP_JSON json_t *document = mover_setup_encode(&sent);
    assert_null(json_object_get(document, "userfaultfd"));
    assert_null(json_object_get(document, "pagemap_fd"));
    assert_int_equal(mover_setup_decode(document, &got, NULL), 0);
    assert_int_equal(got.engine, MOVER_ENGINE_NATIVE);
    assert_false(mover_setup_tracks(&got));
    sent.engine = MOVER_ENGINE_DROVER;
    assert_true(mover_setup_tracks(&sent));
    sent.role = MOVER_ROLE_DESTINATION;
    sent.engine = MOVER_ENGINE_NATIVE;
    CLEANUP_JSON json_t *other = mover_setup_encode(&sent);
    assert_int_equal(mover_setup_decode(other, &got, NULL), 0);
    assert_int_equal(got.engine, MOVER_ENGINE_NATIVE);
}

/* A document that must be refused without anything being written. */
static void assert_document_refused(const json_t *document)
{
    struct mover_setup got = {.memory_size = 1};
    struct error err = ERROR_NONE;
    assert_int_equal(mover_setup_decode(document, &got, &err), -EINVAL);
    assert_int_equal(got.memory_size, 1);
    assert_true(*err.message != '\0');
}

/* Both steal `value`: one key of a good document, or of its options, set to something else. */
static void assert_refused(const char *key, json_t *value)
{
    struct mover_setup setup = example(MOVER_ROLE_SOURCE);
    CLEANUP_JSON json_t *document = mover_setup_encode(&setup);
    json_object_set_new(document, key, value);
    assert_document_refused(document);
}

static void assert_option_refused(const char *key, json_t *value)
{
    struct mover_setup setup = example(MOVER_ROLE_SOURCE);
    CLEANUP_JSON json_t *document = mover_setup_encode(&setup);
    json_object_set_new(json_object_get(document, "options"), key, value);
    assert_document_refused(document);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    assert_refused("role", json_string("bystander"));
    assert_refused("role", json_null());
    assert_refused("engine", json_string("steam"));
    assert_refused("engine", json_integer(1));
    assert_refused("token", json_string("abc"));
    assert_refused("token", json_sprintf("%063dx", 0));
    assert_refused("move_id", json_string("not-a-uuid"));
    assert_refused("memory_size", json_integer(4097));
    assert_refused("memory_size", json_integer(0));
    assert_refused("memory_fd", json_integer(MOVER_SETUP_FD));
    assert_refused("qmp_fd", json_string("6"));
    assert_refused("pacing_fd", json_integer(-1));
    assert_refused("vm_name", json_sprintf("%0100d", 0));
    assert_refused("nics", json_pack("[{s:i, s:s}]", "tap_fd", 7, "mac", "52:54:00:00:00:01:99"));
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    assert_refused("options", json_null());
    assert_refused("options", json_string("fast"));
    assert_option_refused("timeout_ns", json_integer(-1));
    assert_option_refused("blackout_target_ns", json_null());
    assert_option_refused("on_timeout", json_string("explode"));
    assert_option_refused("pace", json_string("on"));
    assert_option_refused("compress", json_integer(1));
    assert_option_refused("channels", json_integer(-1));
    assert_option_refused("channels", json_integer(MOVER_CHANNELS_MOST + 1));
}

static json_t *path_to(const char *address, int port)
{
    return json_pack("{s:s, s:s, s:i}", "local_address", "", "address", address, "port", port);
}

static void wrong_paths_are_refused(void **state)
{
    json_t *many = json_array();
    char longest[80];
    (void)state;
    for (int i = 0; i <= MOVER_PATHS_MOST; i++) {
        json_array_append_new(many, path_to("10.0.0.2", 4242));
    }
    snprintf(longest, sizeof(longest), "%070d", 0);
    assert_refused("paths", many);
    assert_refused("paths", json_null());
    assert_refused("paths", json_array());
    assert_refused("paths", json_pack("[s]", "10.0.0.2"));
    assert_refused("paths", json_pack("[o]", path_to("10.0.0.2", 65536)));
    assert_refused("paths", json_pack("[o]", path_to("10.0.0.2", 0)));
    assert_refused("paths", json_pack("[o]", path_to(longest, 1)));
}

static void wrong_listeners_are_refused(void **state)
{
    struct mover_setup setup = example(MOVER_ROLE_DESTINATION);
    CLEANUP_JSON json_t *document = mover_setup_encode(&setup);
    (void)state;
    json_object_set_new(document, "listen_fds", json_array());
    assert_document_refused(document);
    json_object_set_new(document, "listen_fds", json_pack("[i, s]", 12, "13"));
    assert_document_refused(document);
    json_object_set_new(document, "listen_fds", json_pack("[i]", MOVER_CONTROL_FD));
    assert_document_refused(document);
}

static void too_many_nics_are_refused(void **state)
{
    (void)state;
    json_t *nics = json_array();
    for (int i = 0; i <= MOVER_NICS_MOST; i++) {
        json_array_append_new(nics, json_pack("{s:i, s:s}", "tap_fd", 20, "mac", "x"));
    }
    assert_refused("nics", nics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_survives_the_way),
        cmocka_unit_test(the_options_of_a_move_survive_the_way),
        cmocka_unit_test(a_source_may_be_unable_to_pace),
        cmocka_unit_test(a_destination_survives_the_way),
        cmocka_unit_test(a_key_survives_the_way),
        cmocka_unit_test(a_key_that_is_none_is_refused_and_not_repeated),
        cmocka_unit_test(a_sample_takes_only_what_it_needs),
        cmocka_unit_test(a_native_move_survives_the_way_without_tracking),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(wrong_paths_are_refused),
        cmocka_unit_test(wrong_listeners_are_refused),
        cmocka_unit_test(too_many_nics_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
