/* Leases as files: what is in the files, and what is not taken for one. */
#include "test.h"

#include <sys/stat.h>

#include "scratch.h"
#include "storage/lease.h"

static struct datastore open_store(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore;
    char folder[128];
    assert_int_equal(datastore_open("store", *state, &datastore, &err), 0);
    snprintf(folder, sizeof(folder), "%s/web1", datastore.path);
    assert_int_equal(mkdir(folder, 0700), 0);
    return datastore;
}

static void old_epochs_are_removed(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    char path[128];
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(lease_advance(&datastore, "web1", i, "h1", &err), 0);
    }
    for (int epoch = 1; epoch <= 5; epoch++) {
        snprintf(path, sizeof(path), "%s/web1/owner.%d", datastore.path, epoch);
        assert_int_equal(access(path, F_OK), epoch >= 4 ? 0 : -1);
    }
}

static void bad_files_are_refused_by_name(void **state)
{
    struct error err = ERROR_NONE;
    struct lease owner;
    struct datastore datastore = open_store(state);
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"drover_owner\": 1, \"epoch\": 4, \"host\": \"h1\"}",
                                      "{\"drover_owner\": 2, \"epoch\": 3, \"host\": \"h1\"}",
                                      "{\"drover_owner\": 1, \"epoch\": 3, \"host\": \"../h1\"}",
                                      "{\"drover_owner\": 1, \"epoch\": 3}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        scratch_write(state, "web1/owner.3", bad[i]);
        assert_true(lease_read(&datastore, "web1", &owner, &err) < 0);
        assert_non_null(strstr(err.message, "web1/owner.3"));
    }
    scratch_write(state, "web1/owner.3", "{\"drover_owner\": 1, \"epoch\": 3, \"host\": \"h1\"}");
    scratch_write(state, "web1/owner.04", "x");
    scratch_write(state, "web1/owner.", "x");
    scratch_write(state, "web1/owner.9999999999999999999", "x");
    scratch_write(state, "web1/owner.5x", "x");
    assert_int_equal(lease_read(&datastore, "web1", &owner, &err), 0);
    assert_int_equal(owner.epoch, 3);
}

static void a_link_in_place_of_a_vm_is_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    char link[128];
    snprintf(link, sizeof(link), "%s/web2", datastore.path);
    assert_int_equal(symlink("/tmp", link), 0);
    assert_int_equal(lease_advance(&datastore, "web2", 0, "h1", &err), -ELOOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(old_epochs_are_removed),
        scratch_test(bad_files_are_refused_by_name),
        scratch_test(a_link_in_place_of_a_vm_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
