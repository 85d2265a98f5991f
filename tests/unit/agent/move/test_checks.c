/* The checks before a move: each reason is found by name, all of them at once, and none too many.
 */
#include "test.h"

#include "agent/move/checks.h"
#include "agent/move/engine_choice.h"
#include "base/json.h"

#define DATASTORE "0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4a"
#define UUID_WEB1 "11111111-2222-4333-8444-555555555555"

static const char host_facts[] =
    "{\"name\": \"%s\", \"capabilities\": {\"qemu_version\": \"7.2.22\", \"accelerator\": \"tcg\","
    " \"kernel\": \"6.18\", \"engine\": \"drover\", \"engine_reason\": \"\","
    " \"machine_types\": [\"pc-q35-7.1\", \"pc-q35-7.2\"],"
    " \"cpu_models\": {\"qemu64\": [], \"Nehalem\": [\"vmx\"]}},"
    " \"memory\": {\"total_bytes\": 8589934592, \"available_bytes\": 4294967296},"
    " \"datastores\": [{\"name\": \"shared\", \"uuid\": \"" DATASTORE "\", \"path\": \"/d\","
    "                   \"free_bytes\": 1073741824, \"problem\": null}],"
    " \"migration_encryption\": \"required\","
    " \"port_groups\": [{\"name\": \"vm\", \"vlan\": 10}, {\"name\": \"dmz\", \"vlan\": 20}]}";

/* A move that may go ahead; tests change one thing or more. */
struct fixture {
    struct vm_config config;
    struct checks_move move;
    json_t *source;
    json_t *destination;
    json_t *vms;
};

static json_t *facts_of(const char *name)
{
    char text[2048];
    struct error err = ERROR_NONE;
    int length = snprintf(text, sizeof(text), host_facts, name);
    json_t *facts = json_parse(text, (size_t)length, "facts", &err);
    assert_non_null(facts);
    return facts;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->config = (struct vm_config){
        .name = "web1",
        .uuid = UUID_WEB1,
        .vcpus = 2,
        .memory_mib = 1024,
        .machine = "pc-q35-7.2",
        .cpu = "qemu64",
        .accelerator = "auto",
        .nics = {{"52:54:00:00:00:01", "vm"}, {"52:54:00:00:00:02", "dmz"}},
        .nic_count = 2,
    };
    fixture->source = facts_of("h1");
    fixture->destination = facts_of("h2");
    fixture->vms = json_pack("[{s:s,s:s,s:s,s:s}]", "name", "web1", "uuid", UUID_WEB1, "state",
                             "elsewhere", "datastore", "shared");
    fixture->move = (struct checks_move){
        .config = &fixture->config,
        .vm_state = "running",
        .accelerator = "tcg",
        .datastore_name = "shared",
        .datastore_uuid = DATASTORE,
        .blackout_ms = 50,
        .source = fixture->source,
        .destination = fixture->destination,
        .destination_vms = fixture->vms,
    };
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    json_decref(fixture->source);
    json_decref(fixture->destination);
    json_decref(fixture->vms);
    free(fixture);
    return 0;
}

static json_t *all_checks(const struct fixture *fixture)
{
    json_t *checks = checks_of_source(&fixture->move);
    CLEANUP_JSON json_t *more = checks_of_destination(&fixture->move);
    json_array_extend(checks, more);
    return checks;
}

/* How many findings of that level about `what` say `words`; those that say nothing to do although
 * they block fail the test. */
static int count_findings(const json_t *checks, const char *level, const char *what,
                          const char *words)
{
    int count = 0;
    size_t index;
    json_t *check;
    json_array_foreach (checks, index, check) {
        const char *message = json_string_value(json_object_get(check, "message"));
        const char *its_level = json_string_value(json_object_get(check, "level"));
        if (strcmp(its_level, "block") == 0) {
            assert_string_not_equal(json_string_value(json_object_get(check, "remedy")), "");
        }
        count += strcmp(its_level, level) == 0 && strstr(message, words) &&
                 strcmp(json_string_value(json_object_get(check, "what")), what) == 0;
    }
    return count;
}

static int count_level(const json_t *checks, const char *level)
{
    int count = 0;
    size_t index;
    json_t *check;
    json_array_foreach (checks, index, check) {
        count += strcmp(json_string_value(json_object_get(check, "level")), level) == 0;
    }
    return count;
}

/* This finding is there, and nothing else warns or blocks. */
static void assert_only(const struct fixture *fixture, const char *level, const char *what,
                        const char *words)
{
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    if (count_findings(checks, level, what, words) != 1 || count_level(checks, level) != 1 ||
        count_level(checks, "warn") + count_level(checks, "block") != 1) {
        char *text = json_dumps(checks, JSON_INDENT(1));
        fail_msg("expected one \"%s\" about %s saying \"%s\" in %s", level, what, words, text);
    }
    assert_string_equal(checks_verdict(checks), level);
}

static json_t *capabilities_of(json_t *host)
{
    return json_object_get(host, "capabilities");
}

static void a_good_move_may_go_ahead(void **state)
{
    CLEANUP_JSON json_t *checks = all_checks(*state);
    assert_int_equal(count_level(checks, "ok"), json_array_size(checks));
    assert_true(json_array_size(checks) >= 10);
    assert_string_equal(checks_verdict(checks), "ok");
    struct error err = ERROR_NONE;
    assert_int_equal(checks_to_error(checks, &err), 0);
}

static void only_a_running_vm_moves(void **state)
{
    struct fixture *fixture = *state;
    static const char *const states[] = {"stopped",  "starting", "stopping",
                                         "incoming", "failed",   "elsewhere"};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        fixture->move.vm_state = states[i];
        assert_only(fixture, "block", "state", states[i]);
    }
    fixture->move.vm_state = "migrating";
    assert_only(fixture, "block", "state", "already");
}

static void the_destination_is_another_host(void **state)
{
    struct fixture *fixture = *state;
    json_object_set_new(fixture->destination, "name", json_string("h1"));
    CLEANUP_JSON json_t *here = checks_of_source(&fixture->move);
    CLEANUP_JSON json_t *there = checks_of_destination(&fixture->move);
    assert_int_equal(count_findings(here, "block", "destination", "already"), 1);
    assert_int_equal(count_findings(there, "block", "destination", "already"), 1);
}

static void each_device_is_named(void **state)
{
    struct fixture *fixture = *state;
    strcpy(fixture->config.devices[0], "vfio:0000:01:00.0");
    strcpy(fixture->config.devices[1], "vhost-user:net0");
    fixture->config.device_count = 2;
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_findings(checks, "block", "device", "vfio:0000:01:00.0"), 1);
    assert_int_equal(count_findings(checks, "block", "device", "vhost-user:net0"), 1);
    assert_int_equal(count_level(checks, "block"), 2);
}

static void hide_tracking(struct fixture *fixture)
{
    json_t *capabilities = capabilities_of(fixture->source);
    json_object_set_new(capabilities, "engine", json_string("native"));
    json_object_set_new(capabilities, "engine_reason", json_string("no PAGEMAP_SCAN"));
}

/* Also has both hosts able to run it so. */
static void run_with_kvm(struct fixture *fixture)
{
    fixture->move.accelerator = "kvm";
    json_object_set_new(capabilities_of(fixture->source), "accelerator", json_string("kvm"));
    json_object_set_new(capabilities_of(fixture->destination), "accelerator", json_string("kvm"));
}

static struct engine_choice choice_of(const struct fixture *fixture)
{
    struct engine_choice choice;
    engine_choose(&fixture->move, &choice);
    return choice;
}

static void qemus_migration_is_chosen_where_the_host_cannot_track(void **state)
{
    struct fixture *fixture = *state;
    run_with_kvm(fixture);
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_DROVER);
    hide_tracking(fixture);
    assert_only(fixture, "warn", "engine", "no PAGEMAP_SCAN");
    struct engine_choice choice = choice_of(fixture);
    assert_int_equal(choice.which, ENGINE_CHOICE_NATIVE);
    assert_true(choice.by_itself);
    assert_string_equal(choice.obstacle, "no PAGEMAP_SCAN");
}

static void qemus_migration_is_chosen_where_the_vm_cannot_be_tracked(void **state)
{
    struct fixture *fixture = *state;
    run_with_kvm(fixture);
    fixture->move.vm_obstacle = "its QEMU has no userfaultfd";
    assert_only(fixture, "warn", "engine", "no userfaultfd");
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_NATIVE);
}

static void drovers_engine_is_not_replaced_when_it_is_demanded(void **state)
{
    struct fixture *fixture = *state;
    run_with_kvm(fixture);
    fixture->move.engine = MIGRATE_ENGINE_DROVER;
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_DROVER);
    fixture->move.vm_obstacle = "its QEMU has no userfaultfd";
    assert_only(fixture, "block", "engine", "no userfaultfd");
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_NONE);
}

static void qemus_migration_is_taken_when_it_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    run_with_kvm(fixture);
    fixture->move.engine = MIGRATE_ENGINE_NATIVE;
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_findings(checks, "ok", "engine", "as asked"), 1);
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_NATIVE);
    assert_false(choice_of(fixture).by_itself);
}

/* QEMU's own migration loses writes of such a guest. */
static void a_guest_without_kvm_is_left_to_qemu_only_when_asked_for(void **state)
{
    struct fixture *fixture = *state;
    hide_tracking(fixture);
    assert_only(fixture, "block", "engine", "loses writes");
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_NONE);
    fixture->move.engine = MIGRATE_ENGINE_NATIVE;
    assert_only(fixture, "warn", "engine", "loses writes");
    assert_int_equal(choice_of(fixture).which, ENGINE_CHOICE_NATIVE);
}

static void a_destination_without_the_engine_is_a_dead_end(void **state)
{
    struct fixture *fixture = *state;
    json_t *capabilities = capabilities_of(fixture->destination);
    json_object_set_new(capabilities, "engine", json_string("native"));
    json_object_set_new(capabilities, "engine_reason", json_string("no PAGEMAP_SCAN"));
    assert_only(fixture, "warn", "engine", "move the VM on from h2: no PAGEMAP_SCAN");
}

static void the_blackout_target_is_sane(void **state)
{
    struct fixture *fixture = *state;
    fixture->move.blackout_ms = 0;
    assert_only(fixture, "block", "blackout", "0 ms");
    fixture->move.blackout_ms = 60001;
    assert_only(fixture, "block", "blackout", "60001 ms");
    fixture->move.blackout_ms = 1;
    assert_only(fixture, "warn", "blackout", "never get there");
    fixture->move.blackout_ms = 5000;
    assert_only(fixture, "warn", "blackout", "notice");
}

static void a_longer_blackout_at_the_time_limit_is_said_beforehand(void **state)
{
    struct fixture *fixture = *state;
    fixture->move.timeout_s = 90;
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_string_equal(checks_verdict(checks), "ok");
    fixture->move.stop_at_timeout = true;
    assert_only(fixture, "warn", "time limit",
                "at the time limit, after 90 s, web1 is moved with a longer blackout");
}

static void the_machine_type_is_known_there(void **state)
{
    struct fixture *fixture = *state;
    strcpy(fixture->config.machine, "pc-q35-9.0");
    assert_only(fixture, "block", "machine", "pc-q35-9.0");
}

static void the_qemu_there_is_not_older(void **state)
{
    static const struct {
        const char *version;
        const char *level;
        const char *words;
    } rows[] = {
        {"6.2.0", "block", "older"},          {"7.1.99", "block", "older"},
        {"7.10.0", "warn", "newer"},          {"8.0.0", "warn", "cannot move back"},
        {"7.2.4", "warn", "lacks the fixes"}, {"seven", "block", "does not tell"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_object_set_new(capabilities_of(fixture->destination), "qemu_version",
                            json_string(rows[i].version));
        assert_only(fixture, rows[i].level, "qemu", rows[i].words);
    }
    json_object_set_new(capabilities_of(fixture->destination), "qemu_version",
                        json_string("7.2.23"));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_string_equal(checks_verdict(checks), "ok");
}

static void the_accelerator_stays(void **state)
{
    struct fixture *fixture = *state;
    fixture->move.accelerator = "kvm";
    json_object_set_new(capabilities_of(fixture->source), "accelerator", json_string("kvm"));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_findings(checks, "block", "accelerator", "kvm here"), 1);
    assert_int_equal(count_level(checks, "block"), 1);
}

static void a_vm_pinned_to_tcg_may_go_to_a_kvm_host(void **state)
{
    struct fixture *fixture = *state;
    json_object_set_new(capabilities_of(fixture->destination), "accelerator", json_string("kvm"));
    CLEANUP_JSON json_t *automatic = all_checks(fixture);
    assert_int_equal(count_findings(automatic, "block", "accelerator", "run it with kvm"), 1);
    strcpy(fixture->config.accelerator, "tcg");
    assert_only(fixture, "warn", "cpu", "not known");
}

static void missing_cpu_features_are_named(void **state)
{
    struct fixture *fixture = *state;
    strcpy(fixture->config.cpu, "Nehalem");
    CLEANUP_JSON json_t *same = all_checks(fixture);
    assert_string_equal(checks_verdict(same), "ok");

    json_t *models = json_object_get(capabilities_of(fixture->destination), "cpu_models");
    json_object_set_new(models, "Nehalem", json_pack("[s,s,s]", "vmx", "aes", "x2apic"));
    assert_only(fixture, "block", "cpu", "lacks: aes, x2apic");
    json_object_set_new(models, "Nehalem", json_array());
    assert_only(fixture, "warn", "cpu", "vmx");
    json_object_del(models, "Nehalem");
    assert_only(fixture, "block", "cpu", "does not know the CPU model Nehalem");
}

static void memory_suffices(void **state)
{
    struct fixture *fixture = *state;
    json_t *memory = json_object_get(fixture->destination, "memory");
    json_object_set_new(memory, "available_bytes", json_integer(1023LL << 20));
    assert_only(fixture, "block", "memory", "needs 1.0 GiB");
    json_object_set_new(memory, "available_bytes", json_integer(1025LL << 20));
    assert_only(fixture, "warn", "memory", "just");
    json_object_set_new(memory, "available_bytes", json_integer(1280LL << 20));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_string_equal(checks_verdict(checks), "ok");
}

static void the_datastore_is_known_by_its_uuid(void **state)
{
    struct fixture *fixture = *state;
    json_t *datastore = json_array_get(json_object_get(fixture->destination, "datastores"), 0);
    json_array_clear(fixture->vms);
    json_object_set_new(datastore, "name", json_string("mounted-elsewhere"));
    CLEANUP_JSON json_t *renamed = all_checks(fixture);
    assert_string_equal(checks_verdict(renamed), "ok");

    json_object_set_new(datastore, "free_bytes", json_integer(1 << 20));
    assert_only(fixture, "warn", "datastore", "nearly full");
    json_object_set_new(datastore, "problem", json_string("not mounted"));
    assert_only(fixture, "block", "datastore", "not mounted");
    json_object_set_new(datastore, "uuid", json_string("99999999-2222-4333-8444-555555555555"));
    assert_only(fixture, "block", "datastore", "does not see the datastore shared");
    json_object_set_new(datastore, "name", json_string("shared"));
    assert_only(fixture, "block", "datastore", "another one");
}

static void each_missing_port_group_is_named_once(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.nics[2] = fixture->config.nics[1];
    fixture->config.nic_count = 3;
    json_array_remove(json_object_get(fixture->destination, "port_groups"), 1);
    assert_only(fixture, "block", "network", "dmz");
    json_array_clear(json_object_get(fixture->destination, "port_groups"));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_findings(checks, "block", "network", "no port group vm"), 1);
    assert_int_equal(count_findings(checks, "block", "network", "no port group dmz"), 1);
    assert_int_equal(count_level(checks, "block"), 2);
}

static void another_vlan_warns(void **state)
{
    struct fixture *fixture = *state;
    json_t *group = json_array_get(json_object_get(fixture->destination, "port_groups"), 0);
    json_object_set_new(group, "vlan", json_integer(11));
    assert_only(fixture, "warn", "network", "VLAN 10 here and VLAN 11 on h2");
}

static void a_vm_that_nobody_runs_is_the_same_only_on_the_same_datastore(void **state)
{
    struct fixture *fixture = *state;
    json_t *vm = json_array_get(fixture->vms, 0);
    json_object_set_new(vm, "state", json_string("stopped"));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_string_equal(checks_verdict(checks), "ok");
    json_object_set_new(vm, "datastore", json_string("local"));
    assert_only(fixture, "block", "name", "which is stopped");
    json_object_set_new(vm, "state", json_string("elsewhere"));
    assert_only(fixture, "block", "name", "which is elsewhere");
}

static void names_are_free_there(void **state)
{
    struct fixture *fixture = *state;
    json_t *vm = json_array_get(fixture->vms, 0);
    json_object_set_new(vm, "state", json_string("running"));
    assert_only(fixture, "block", "name", UUID_WEB1);
    json_object_set_new(vm, "state", json_string("elsewhere"));
    json_object_set_new(vm, "uuid", json_string("99999999-2222-4333-8444-555555555555"));
    assert_only(fixture, "block", "name", "another VM named web1");
    json_object_set_new(vm, "uuid", json_string(UUID_WEB1));
    json_object_set_new(vm, "name", json_string("web2"));
    assert_only(fixture, "block", "name", "web2");
    json_array_clear(fixture->vms);
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_string_equal(checks_verdict(checks), "ok");
}

static void all_reasons_come_at_once(void **state)
{
    struct fixture *fixture = *state;
    fixture->move.vm_state = "stopped";
    fixture->move.blackout_ms = 0;
    strcpy(fixture->config.devices[0], "vfio:0000:01:00.0");
    fixture->config.device_count = 1;
    strcpy(fixture->config.machine, "pc-q35-9.0");
    strcpy(fixture->config.cpu, "Skylake");
    fixture->config.memory_mib = 1 << 20;
    fixture->move.datastore_uuid = "nowhere";
    strcpy(fixture->config.nics[0].port_group, "lab");
    json_object_set_new(capabilities_of(fixture->destination), "qemu_version",
                        json_string("6.2.0"));
    json_object_set_new(json_array_get(fixture->vms, 0), "state", json_string("running"));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_level(checks, "block"), 10);
    assert_string_equal(checks_verdict(checks), "block");
    struct error err = ERROR_NONE;
    assert_int_equal(checks_to_error(checks, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "stopped"));
    assert_string_not_equal(err.remedy, "");
}

/* A peer may send anything: every missing or twisted fact blocks or is not needed. */
static void twisted_facts_never_pass(void **state)
{
    struct fixture *fixture = *state;
    static const char *const facts[] = {"{}",
                                        "[]",
                                        "3",
                                        "\"h2\"",
                                        "{\"capabilities\": [], \"memory\": 7, \"datastores\": {},"
                                        " \"port_groups\": [1], \"name\": null}",
                                        "{\"capabilities\": {\"machine_types\": [7],"
                                        " \"cpu_models\": [], \"qemu_version\": 7,"
                                        " \"engine\": {}}, \"memory\": {\"available_bytes\": -1}}"};
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        struct error err = ERROR_NONE;
        json_error_t reason;
        json_t *twisted = json_loads(facts[i], JSON_DECODE_ANY, &reason);
        assert_non_null(twisted);
        fixture->move.destination = twisted;
        fixture->move.destination_vms = twisted;
        CLEANUP_JSON json_t *there = checks_of_destination(&fixture->move);
        assert_true(count_level(there, "block") >= 7);
        assert_int_equal(checks_to_error(there, &err), -ENOTSUP);
        fixture->move.source = twisted;
        CLEANUP_JSON json_t *here = checks_of_source(&fixture->move);
        assert_int_equal(count_findings(here, "block", "engine", "does not tell"), 1);
        fixture->move.source = fixture->source;
        json_decref(twisted);
    }
}

/* A message that is cut in the middle of a character must not be lost. */
static void a_reason_survives_an_endless_name(void **state)
{
    struct fixture *fixture = *state;
    char name[4096];
    for (size_t i = 0; i + 2 < sizeof(name); i += 2) {
        memcpy(name + i, "\xc3\xa4", 3);
    }
    json_object_set_new(fixture->destination, "name", json_string(name));
    strcpy(fixture->config.machine, "pc-q35-9.0");
    CLEANUP_JSON json_t *checks = checks_of_destination(&fixture->move);
    assert_int_equal(count_findings(checks, "block", "machine", "?"), 1);
}

static void a_malformed_answer_blocks(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    CLEANUP_JSON json_t *unknown = json_pack("[{s:s},{s:s}]", "level", "ok", "level", "fine");
    CLEANUP_JSON json_t *object = json_object();
    CLEANUP_JSON json_t *empty = json_array();
    assert_string_equal(checks_verdict(unknown), "block");
    assert_string_equal(checks_verdict(object), "block");
    assert_string_equal(checks_verdict(NULL), "block");
    assert_string_equal(checks_verdict(empty), "ok");
    assert_int_equal(checks_to_error(NULL, &err), -EPROTO);
}

#define check_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static void assert_encryption(struct fixture *fixture, const char *here, const char *there,
                              const char *level, const char *words)
{
    json_object_set_new(fixture->source, "migration_encryption", json_string(here));
    json_object_set_new(fixture->destination, "migration_encryption", json_string(there));
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_findings(checks, level, "encryption", words), 1);
}

static void both_hosts_must_agree_on_encryption(void **state)
{
    struct fixture *fixture = *state;
    assert_encryption(fixture, "required", "required", "ok", "travels encrypted");
    assert_encryption(fixture, "required", "opportunistic", "ok", "travels encrypted");
    assert_encryption(fixture, "opportunistic", "opportunistic", "ok", "travels encrypted");
    assert_encryption(fixture, "opportunistic", "disabled", "warn", "travels in clear");
    assert_encryption(fixture, "disabled", "disabled", "warn", "travels in clear");
    assert_encryption(fixture, "required", "disabled", "block", "disabled");
    assert_encryption(fixture, "disabled", "required", "block", "disabled");
    assert_encryption(fixture, "required", "perhaps", "block", "whether it encrypts");
    json_object_set_new(fixture->source, "migration_encryption", json_string("required"));
    json_object_del(fixture->destination, "migration_encryption"); /* of an older version */
    CLEANUP_JSON json_t *checks = all_checks(fixture);
    assert_int_equal(count_findings(checks, "block", "encryption", "disabled"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        check_test(a_good_move_may_go_ahead),
        check_test(only_a_running_vm_moves),
        check_test(the_destination_is_another_host),
        check_test(each_device_is_named),
        check_test(qemus_migration_is_chosen_where_the_host_cannot_track),
        check_test(qemus_migration_is_chosen_where_the_vm_cannot_be_tracked),
        check_test(drovers_engine_is_not_replaced_when_it_is_demanded),
        check_test(qemus_migration_is_taken_when_it_is_asked_for),
        check_test(a_guest_without_kvm_is_left_to_qemu_only_when_asked_for),
        check_test(a_destination_without_the_engine_is_a_dead_end),
        check_test(the_blackout_target_is_sane),
        check_test(a_longer_blackout_at_the_time_limit_is_said_beforehand),
        check_test(the_machine_type_is_known_there),
        check_test(the_qemu_there_is_not_older),
        check_test(the_accelerator_stays),
        check_test(a_vm_pinned_to_tcg_may_go_to_a_kvm_host),
        check_test(missing_cpu_features_are_named),
        check_test(both_hosts_must_agree_on_encryption),
        check_test(memory_suffices),
        check_test(the_datastore_is_known_by_its_uuid),
        check_test(each_missing_port_group_is_named_once),
        check_test(another_vlan_warns),
        check_test(a_vm_that_nobody_runs_is_the_same_only_on_the_same_datastore),
        check_test(names_are_free_there),
        check_test(all_reasons_come_at_once),
        check_test(a_reason_survives_an_endless_name),
        check_test(twisted_facts_never_pass),
        cmocka_unit_test(a_malformed_answer_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
