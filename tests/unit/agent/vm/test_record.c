/* What survives the agent: written and read back, and what is not ours to believe refused. */
#include "test.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/vm/record.h"
#include "base/file.h"
#include "scratch.h"

#define UUID_WEB1 "11111111-2222-4333-8444-555555555555"

static struct agent_config *config_in(const char *folder)
{
    struct agent_config *config = calloc(1, sizeof(*config));
    struct error err = ERROR_NONE;
    char path[300];
    assert_non_null(config);
    snprintf(config->run_folder, sizeof(config->run_folder), "%s", folder);
    snprintf(path, sizeof(path), "%s/vms/%s", folder, UUID_WEB1);
    assert_int_equal(file_make_folders(path, 0700, &err), 0);
    return config;
}

static struct vm running_vm(void)
{
    struct vm vm = {.has_runtime = true, .owner = {.epoch = 5}};
    struct vm_config *config = &vm.config;
    config->vcpus = 2;
    config->memory_mib = 512;
    config->nic_count = 1;
    strcpy(config->name, "web1");
    strcpy(config->uuid, UUID_WEB1);
    strcpy(config->machine, "pc-q35-7.2");
    strcpy(config->cpu, "qemu64");
    strcpy(config->accelerator, "auto");
    strcpy(config->nics[0].mac, "52:54:00:12:34:56");
    strcpy(config->nics[0].port_group, "vm");
    strcpy(vm.datastore.name, "shared");
    strcpy(vm.datastore.uuid, "0b5f8a3e-5d0c-4c7e-9a53-0d9e3f1c2b4a");
    strcpy(vm.datastore.path, "/d");
    vm.datastore.lease = (struct lease_settings){.kind = LEASE_FILE,
                                                 .heartbeat_ns = 500000000,
                                                 .stop_after_ns = 5000000000,
                                                 .takeover_ns = 8000000000};
    vm.runtime = (struct vm_runtime){.process = {.pid = 77, .start_time = 1234567890123},
                                     .slot = 4,
                                     .uid = 2100004,
                                     .accelerator = "tcg",
                                     .engine = "drover",
                                     .shadow = true,
                                     .started_at = 1700000000000000000,
                                     .taps = {"dv3"}};
    return vm;
}

static void a_vm_comes_back_as_it_was(void **state)
{
    struct agent_config *config = config_in(*state);
    struct error err = ERROR_NONE;
    struct vm saved = running_vm();
    struct vm loaded;
    assert_int_equal(record_save(config, &saved, &err), 0);
    assert_int_equal(record_load(config, UUID_WEB1, &loaded, &err), 0);
    assert_string_equal(loaded.config.name, "web1");
    assert_string_equal(loaded.datastore.path, "/d");
    assert_int_equal(loaded.runtime.process.pid, 77);
    assert_int_equal(loaded.runtime.process.start_time, 1234567890123);
    assert_int_equal(loaded.runtime.slot, 4);
    assert_int_equal(loaded.runtime.uid, 2100004);
    assert_int_equal(loaded.runtime.started_at, 1700000000000000000);
    assert_string_equal(loaded.runtime.taps[0], "dv3");
    assert_int_equal(loaded.owner.epoch, 5);
    assert_true(loaded.has_runtime);
    assert_true(loaded.runtime.shadow);
    assert_int_equal(loaded.datastore.lease.kind, LEASE_FILE);
    assert_int_equal(loaded.datastore.lease.stop_after_ns, 5000000000);
    free(config);
}

static void write_state(const struct agent_config *config, const char *text)
{
    struct error err = ERROR_NONE;
    char *path = record_path(config, UUID_WEB1, "state.json");
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, &err), 0);
    free(path);
}

static void a_record_that_is_torn_newer_or_of_another_vm_is_refused(void **state)
{
    struct agent_config *config = config_in(*state);
    struct error err = ERROR_NONE;
    struct vm vm = running_vm();
    struct vm loaded = {.state = VM_STATE_FAILED};
    assert_int_equal(record_load(config, UUID_WEB1, &loaded, &err), -ENOENT);
    write_state(config, "{\"version\": 1, \"vm\": {");
    assert_int_equal(record_load(config, UUID_WEB1, &loaded, &err), -EINVAL);
    write_state(config, "{\"version\": 2}");
    assert_int_equal(record_load(config, UUID_WEB1, &loaded, &err), -EINVAL);
    assert_non_null(strstr(err.message, "newer"));
    assert_int_equal(record_save(config, &vm, &err), 0);
    char *from = record_path(config, UUID_WEB1, "");
    char *other = record_path(config, "21111111-2222-4333-8444-555555555555", "");
    from[strlen(from) - 1] = other[strlen(other) - 1] = '\0';
    assert_int_equal(rename(from, other), 0);
    assert_int_equal(record_load(config, "21111111-2222-4333-8444-555555555555", &loaded, &err),
                     -EINVAL);
    assert_int_equal(loaded.state, VM_STATE_FAILED); /* untouched by failures */
    free(from);
    free(other);
    free(config);
}

static void a_move_is_remembered_until_it_is_over(void **state)
{
    struct agent_config *config = config_in(*state);
    struct error err = ERROR_NONE;
    struct move_record loaded;
    struct move_record move = {.role = RECORD_DESTINATION,
                               .move_id = UUID_WEB1,
                               .peer = "h2",
                               .epoch = 9,
                               .mover = {.pid = 12, .start_time = 34}};
    assert_int_equal(record_load_move(config, UUID_WEB1, &loaded, &err), 0);
    assert_int_equal(record_save_move(config, UUID_WEB1, &move, &err), 0);
    assert_int_equal(record_load_move(config, UUID_WEB1, &loaded, &err), 1);
    assert_int_equal(loaded.role, RECORD_DESTINATION);
    assert_string_equal(loaded.peer, "h2");
    assert_int_equal(loaded.epoch, 9);
    assert_int_equal(loaded.mover.pid, 12);
    assert_false(loaded.committing);
    move.committing = true;
    assert_int_equal(record_save_move(config, UUID_WEB1, &move, &err), 0);
    assert_int_equal(record_load_move(config, UUID_WEB1, &loaded, &err), 1);
    assert_true(loaded.committing);
    assert_int_equal(record_remove_move(config, UUID_WEB1, &err), 0);
    assert_int_equal(record_remove_move(config, UUID_WEB1, &err), 0);
    assert_int_equal(record_load_move(config, UUID_WEB1, &loaded, &err), 0);
    free(config);
}

/* A journal that cannot be written is an error, and what it said before still stands. */
static void a_full_file_system_keeps_what_was_recorded(void **state)
{
    char folder[200];
    struct error err = ERROR_NONE;
    struct move_record loaded;
    struct move_record move = {
        .role = RECORD_SOURCE, .move_id = UUID_WEB1, .peer = "h2", .epoch = 9};
    snprintf(folder, sizeof(folder), "%s/small", (char *)*state);
    assert_int_equal(file_make_folders(folder, 0700, &err), 0);
    if (mount("none", folder, "tmpfs", 0, "nr_inodes=4") < 0) {
        skip(); /* takes root */
    }
    struct agent_config *config = config_in(folder); /* three folders */
    assert_int_equal(record_save_move(config, UUID_WEB1, &move, &err), 0);
    move.committing = true;
    assert_int_equal(record_save_move(config, UUID_WEB1, &move, &err), -ENOSPC);
    assert_int_equal(record_load_move(config, UUID_WEB1, &loaded, &err), 1);
    assert_false(loaded.committing);
    assert_int_equal(umount(folder), 0);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_vm_comes_back_as_it_was, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(a_record_that_is_torn_newer_or_of_another_vm_is_refused,
                                        scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(a_move_is_remembered_until_it_is_over, scratch_make,
                                        scratch_remove),
        scratch_test(a_full_file_system_keeps_what_was_recorded),
    };
    return cmocka_run_group_tests_name("agent-record", tests, NULL, NULL);
}
