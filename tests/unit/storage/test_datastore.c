/* A datastore is known by its UUID, lists its VMs, good and bad, and is cleaned after a crash. */
#include "test.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "base/json.h"
#include "scratch.h"
#include "storage/temporary.h"

#include "storage/datastore.h"

static struct datastore open_store(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore;
    assert_int_equal(datastore_open("store", *state, &datastore, &err), 0);
    return datastore;
}

static void make_folder(void **state, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void add_vm(void **state, const char *folder, const char *name)
{
    char path[512];
    struct error err = ERROR_NONE;
    make_folder(state, folder);
    CLEANUP_JSON json_t *document = json_pack("{s:s}", "name", name);
    assert_int_equal(vm_config_complete(document, &err), 0);
    snprintf(path, sizeof(path), "%s/%s/vm.json", (const char *)*state, folder);
    assert_int_equal(json_write_file(path, document, 0600, &err), 0);
}

static void the_identity_stays(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore first = open_store(state);
    struct datastore second;
    char link[128];
    snprintf(link, sizeof(link), "%s.link", first.path);
    assert_int_equal(symlink(first.path, link), 0);
    assert_int_equal(datastore_open("other", link, &second, &err), 0);
    unlink(link);
    assert_true(uuid_is_valid(first.uuid));
    assert_string_equal(first.uuid, second.uuid);
    assert_string_equal(second.name, "other");
}

static void hosts_that_come_at_once_agree(void **state)
{
    int pipes[2];
    char uuids[8][UUID_TEXT_SIZE];
    assert_int_equal(pipe(pipes), 0);
    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            struct datastore datastore = {0};
            int result = datastore_open("store", *state, &datastore, NULL);
            _exit(result < 0 || write(pipes[1], datastore.uuid, UUID_TEXT_SIZE) < 0);
        }
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(read(pipes[0], uuids[i], UUID_TEXT_SIZE), UUID_TEXT_SIZE);
        assert_string_equal(uuids[i], uuids[0]);
        wait(NULL);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static void bad_places_and_markers_are_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore;
    assert_int_equal(datastore_open("store", "relative", &datastore, &err), -EINVAL);
    assert_int_equal(datastore_open("a/b", *state, &datastore, &err), -EINVAL);
    assert_int_equal(datastore_open("store", "/nowhere", &datastore, &err), -ENOENT);
    assert_non_null(strstr(err.remedy, "mount"));
    scratch_write(state, "drover-datastore.json", "{\"drover_datastore\": 3, \"uuid\": \"x\"}");
    assert_int_equal(datastore_open("store", *state, &datastore, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "version 3"));
    scratch_write(state, "drover-datastore.json", "{\"drover_datastore\": 1, \"uuid\": \"x\"}");
    assert_int_equal(datastore_open("store", *state, &datastore, &err), -EINVAL);
    scratch_write(state, "drover-datastore.json", "");
    assert_true(datastore_open("store", *state, &datastore, &err) < 0);
    char marker[128];
    snprintf(marker, sizeof(marker), "%s/drover-datastore.json", (const char *)*state);
    unlink(marker);
    assert_int_equal(symlink("/etc/hostname", marker), 0);
    assert_int_equal(datastore_open("store", *state, &datastore, &err), -ELOOP);
}

static void space_is_told(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    uint64_t total;
    uint64_t free_bytes;
    assert_int_equal(datastore_space(&datastore, &total, &free_bytes, &err), 0);
    assert_true(total > 0 && free_bytes <= total);
}

struct seen {
    char good[256];
    char bad[256];
    char reasons[2048];
    int stop_with;
};

static int note(void *context, const char *folder, const struct vm_config *config,
                const struct error *reason)
{
    struct seen *seen = context;
    char *list = config ? seen->good : seen->bad;
    snprintf(list + strlen(list), 256 - strlen(list), "%s ", folder);
    if (!config) {
        size_t used = strlen(seen->reasons);
        snprintf(seen->reasons + used, sizeof(seen->reasons) - used, "%s\n", reason->message);
    }
    return seen->stop_with;
}

static void all_vms_are_visited_good_and_bad(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    struct seen seen = {0};
    add_vm(state, "web2", "web2");
    add_vm(state, "web1", "web1");
    add_vm(state, "renamed", "db1");
    add_vm(state, ".web3.new-1-1-00000000@x", "web3");
    make_folder(state, "broken");
    scratch_write(state, "broken/vm.json", "{");
    make_folder(state, "linked");
    make_folder(state, "empty");
    scratch_write(state, "file", "no folder");
    char link[128];
    snprintf(link, sizeof(link), "%s/linked/vm.json", datastore.path);
    assert_int_equal(symlink("../web1/vm.json", link), 0);

    assert_int_equal(datastore_each_vm(&datastore, note, &seen, &err), 0);
    assert_string_equal(seen.good, "web1 web2 ");
    assert_string_equal(seen.bad, "broken linked renamed ");
    assert_non_null(strstr(seen.reasons, "broken/vm.json"));
    assert_non_null(strstr(seen.reasons, "db1"));

    seen = (struct seen){.stop_with = -EINTR};
    assert_int_equal(datastore_each_vm(&datastore, note, &seen, &err), -EINTR);
    assert_string_equal(seen.bad, "broken ");
}

static void only_what_a_dead_process_of_this_host_left_is_cleaned(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    char own[TEMPORARY_NAME_SIZE];
    char dead[TEMPORARY_NAME_SIZE];
    char dead_inner[TEMPORARY_NAME_SIZE + 8];
    int pipes[2];
    temporary_name(own, "web1");
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        temporary_name(dead, "web1.new-x");
        _exit(write(pipes[1], dead, sizeof(dead)) < 0);
    }
    waitpid(pid, NULL, 0);
    assert_int_equal(read(pipes[0], dead, sizeof(dead)), sizeof(dead));
    close(pipes[0]);
    close(pipes[1]);
    assert_true(temporary_is_abandoned(dead));
    assert_false(temporary_is_abandoned(own));
    assert_false(temporary_is_abandoned(".web1.new-1-1-00000000@elsewhere"));
    assert_false(temporary_is_abandoned("web1"));
    assert_false(temporary_is_abandoned(".web1.new-"));

    add_vm(state, "web1", "web1");
    make_folder(state, own);
    add_vm(state, dead, "web1");
    make_folder(state, ".web1.new-1-1-00000000@elsewhere");
    snprintf(dead_inner, sizeof(dead_inner), "web1/%s", dead);
    scratch_write(state, dead_inner, "x");
    assert_int_equal(datastore_clean(&datastore, &err), 0);

    char path[512];
    const char *const kept[] = {own, ".web1.new-1-1-00000000@elsewhere", "web1/vm.json"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", datastore.path, kept[i]);
        assert_int_equal(access(path, F_OK), 0);
    }
    const char *const removed[] = {dead, dead_inner};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", datastore.path, removed[i]);
        assert_int_equal(access(path, F_OK), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(the_identity_stays),
        scratch_test(hosts_that_come_at_once_agree),
        scratch_test(bad_places_and_markers_are_refused),
        scratch_test(space_is_told),
        scratch_test(all_vms_are_visited_good_and_bad),
        scratch_test(only_what_a_dead_process_of_this_host_left_is_cleaned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
