/* The configuration file: what is complete is taken, anything else is refused by name. */
#include "test.h"

#include "agent/config.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "scratch.h"

static const char complete[] =
    "{\"version\": 1, \"host\": \"h1\", \"state_folder\": \"/s\", \"run_folder\": \"/r\","
    " \"datastores\": [{\"name\": \"shared\", \"path\": \"/d\"}],"
    " \"bridges\": [{\"name\": \"br-vm\", \"uplink\": \"vm0\"}],"
    " \"port_groups\": [{\"name\": \"vm\", \"bridge\": \"br-vm\", \"vlan\": 10}],"
    " \"migration_address\": \"10.78.0.1\","
    " \"peers\": [{\"name\": \"h2\", \"address\": \"10.79.0.2\", \"port\": 7790}],"
    " \"memory_limit_mib\": 512, \"uid_base\": 3000000}";

static int load(json_t *document, struct agent_config **ret_config, struct error *err)
{
    int result = config_from_json(document, "droverd.json", ret_config, err);
    json_decref(document);
    return result;
}

static json_t *complete_document(void)
{
    struct error err = ERROR_NONE;
    json_t *document = json_parse(complete, strlen(complete), "test", &err);
    assert_non_null(document);
    return document;
}

/* The document with one key set to other JSON. */
static json_t *with(const char *key, const char *json)
{
    json_t *document = complete_document();
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    json_object_set_new(document, key, value);
    return document;
}

static void a_complete_document_is_taken(void **state)
{
    struct error err = ERROR_NONE;
    struct agent_config *config;
    (void)state;
    assert_int_equal(load(complete_document(), &config, &err), 0);
    assert_string_equal(config->host, "h1");
    assert_string_equal(config->datastores[0].path, "/d");
    assert_int_equal(config_port_group(config, "vm")->vlan, 10);
    assert_int_equal(config_peer(config, "h2")->port, 7790);
    assert_null(config_peer(config, "h3"));
    assert_int_equal(config->memory_limit_mib, 512);
    assert_int_equal(config->uid_base, 3000000);
    assert_int_equal(config->listen_port, 0);
    assert_int_equal(config->migration_address_count, 1);
    assert_string_equal(config->migration_addresses[0], "10.78.0.1");
    free(config);
}

static void moves_are_encrypted_unless_the_operator_says_otherwise(void **state)
{
    static const char *const values[] = {"\"required\"", "\"opportunistic\"", "\"disabled\""};
    (void)state;
    for (int policy = ENCRYPTION_REQUIRED; policy <= ENCRYPTION_DISABLED; policy++) {
        CLEANUP_FREE struct agent_config *config = NULL;
        CLEANUP_JSON json_t *document = with("migration_encryption", values[policy]);
        assert_int_equal(config_from_json(document, "the file", &config, NULL), 0);
        assert_int_equal(config->migration_encryption, policy);
    }
    CLEANUP_FREE struct agent_config *silent = NULL;
    CLEANUP_JSON json_t *document = with("migration_address", "\"10.78.0.1\"");
    assert_int_equal(config_from_json(document, "the file", &silent, NULL), 0);
    assert_int_equal(silent->migration_encryption, ENCRYPTION_REQUIRED);
}

static void a_host_may_have_several_migration_addresses(void **state)
{
    struct error err = ERROR_NONE;
    struct agent_config *config;
    (void)state;
    json_t *document = with("migration_addresses", "[\"10.78.0.1\", \"10.80.0.1\", \"fd00::1\"]");
    json_object_del(document, "migration_address");
    assert_int_equal(load(document, &config, &err), 0);
    assert_int_equal(config->migration_address_count, 3);
    assert_string_equal(config->migration_addresses[2], "fd00::1");
    free(config);
}

static void what_is_left_out_has_a_default(void **state)
{
    struct error err = ERROR_NONE;
    struct agent_config *config;
    (void)state;
    assert_int_equal(load(json_pack("{s:i, s:s}", "version", 1, "host", "h1"), &config, &err), 0);
    assert_string_equal(config->run_folder, "/run/drover");
    assert_int_equal(config->peer_count, 0);
    assert_string_equal(config->listen_address, "");
    free(config);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *key;
        const char *json;
        const char *word; /* that the error must contain */
    } rows[] = {
        {"version", "2", "version"},
        {"host", "\"../h1\"", "../h1"},
        {"host", "7", "host"},
        {"colour", "\"red\"", "colour"},
        {"run_folder", "\"run\"", "run_folder"},
        {"run_folder", "\"/0123456789012345678901234567890123456789012345678901\"", "run_folder"},
        {"migration_address", "\"h1.example\"", "migration_address"},
        {"migration_addresses", "[\"10.78.0.1\"]", "both"},
        {"migration_encryption", "\"maybe\"", "migration_encryption"},
        {"migration_encryption", "true", "migration_encryption"},
        {"migration_addresses", "\"10.78.0.1\"", "migration_addresses"},
        {"migration_addresses", "[\"h1.example\"]", "h1.example"},
        {"migration_addresses", "[7]", "migration_addresses"},
        {"migration_addresses", "[\"10.80.0.1\", \"10.80.0.1\"]", "twice"},
        {"datastores", "[{\"name\": \"a\", \"path\": \"/a\"}, {\"name\": \"a\", \"path\": \"/b\"}]",
         "twice"},
        {"datastores", "{}", "datastores"},
        {"bridges", "[{\"name\": \"a-bridge-with-a-long-name\"}]", "longer"},
        {"port_groups", "[{\"name\": \"vm\", \"bridge\": \"br-vm\", \"vlan\": 4095}]", "vlan"},
        {"port_groups", "[{\"name\": \"vm\", \"bridge\": \"br-other\", \"vlan\": 1}]", "br-other"},
        {"peers", "[{\"name\": \"h2\", \"address\": \"h2\", \"port\": 1}]", "address"},
        {"peers", "[{\"name\": \"h2\", \"address\": \"::1\", \"port\": 70000}]", "port"},
        {"uid_base", "0", "uid_base"},
        {"memory_limit_mib", "-1", "memory_limit_mib"},
        {"listen", "{\"address\": \"127.0.0.1\", \"port\": 1}", "tls"},
        {"tls", "{}", "folder"},
        {"tls", "{\"folder\": \"tls\"}", "folder"},
        {"tls", "{\"folder\": \"/t\", \"authority\": \"h9\"}", "h9"},
        {"tls", "{\"folder\": \"/t\", \"key\": \"/k\"}", "key"},
        {"token_file", "\"/nonexistent\"", "/nonexistent"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = ERROR_NONE;
        struct agent_config *config;
        assert_true(load(with(rows[i].key, rows[i].json), &config, &err) < 0);
        if (!strstr(err.message, rows[i].word)) {
            fail_msg("\"%s\" does not name %s", err.message, rows[i].word);
        }
    }
}

static void who_holds_the_authority_has_a_folder_for_it(void **state)
{
    static const struct {
        const char *json;
        const char *folder;
    } rows[] = {
        {"{\"folder\": \"/t\"}", ""},
        {"{\"folder\": \"/t\", \"authority\": \"h2\"}", ""},
        {"{\"folder\": \"/t\", \"authority\": \"h1\"}", "/s/ca"},
        {"{\"folder\": \"/t\", \"authority\": \"h1\", \"authority_folder\": \"/a\"}", "/a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = ERROR_NONE;
        struct agent_config *config;
        assert_int_equal(load(with("tls", rows[i].json), &config, &err), 0);
        assert_string_equal(config->tls.folder, "/t");
        assert_string_equal(config->tls.authority_folder, rows[i].folder);
        free(config);
    }
}

static void a_token_is_read_without_its_line_end_and_a_short_one_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct agent_config *config;
    char path[160];
    char json[200];
    snprintf(path, sizeof(path), "%s/token", (const char *)*state);
    snprintf(json, sizeof(json), "\"%s\"", path);
    assert_int_equal(file_write_atomic(path, "0123456789abcdef\n", 17, 0600, &err), 0);
    assert_int_equal(load(with("token_file", json), &config, &err), 0);
    assert_string_equal(config->token, "0123456789abcdef");
    free(config);
    assert_int_equal(file_write_atomic(path, "secret\n", 7, 0600, &err), 0);
    assert_int_equal(load(with("token_file", json), &config, &err), -EINVAL);
    assert_null(strstr(err.message, "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_document_is_taken),
        cmocka_unit_test(moves_are_encrypted_unless_the_operator_says_otherwise),
        cmocka_unit_test(a_host_may_have_several_migration_addresses),
        cmocka_unit_test(what_is_left_out_has_a_default),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(who_holds_the_authority_has_a_folder_for_it),
        cmocka_unit_test_setup_teardown(
            a_token_is_read_without_its_line_end_and_a_short_one_refused, scratch_make,
            scratch_remove),
    };
    return cmocka_run_group_tests_name("agent-config", tests, NULL, NULL);
}
