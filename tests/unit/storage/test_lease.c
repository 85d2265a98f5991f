/* Ownership: of all who reach for an epoch exactly one gets it, whoever comes late or crashes. */
#include "test.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "scratch.h"
#include "storage/lease.h"

#define RACERS 12
#define ROUNDS 40

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

static struct lease read_owner(const struct datastore *datastore)
{
    struct error err = ERROR_NONE;
    struct lease owner;
    if (lease_read(datastore, "web1", &owner, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return owner;
}

static void epochs_follow_each_other(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    struct lease owner = read_owner(&datastore);
    assert_int_equal(owner.epoch, 0);
    assert_string_equal(owner.host, "");
    static const char *const hosts[] = {"h1", "h2", "", "h3"};
    for (uint64_t i = 0; i < 12; i++) {
        assert_int_equal(lease_advance(&datastore, "web1", i, hosts[i % 4], &err), 0);
        owner = read_owner(&datastore);
        assert_int_equal(owner.epoch, i + 1);
        assert_string_equal(owner.host, hosts[i % 4]);
    }
}

static void a_taken_epoch_is_not_taken_again(void **state)
{
    struct error err = ERROR_NONE;
    struct datastore datastore = open_store(state);
    for (uint64_t i = 0; i < 6; i++) {
        assert_int_equal(lease_advance(&datastore, "web1", i, "h1", &err), 0);
    }
    /* owner.2 was removed long ago: its name is free, the epoch is not */
    for (uint64_t after = 0; after < 6; after++) {
        assert_int_equal(lease_advance(&datastore, "web1", after, "h2", &err), -EEXIST);
    }
    assert_int_equal(lease_advance(&datastore, "web1", 7, "h2", &err), -EINVAL);
    assert_int_equal(read_owner(&datastore).epoch, 6);
    assert_string_equal(read_owner(&datastore).host, "h1");
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

/* One racer of one round: waits for the pipe to close, then reaches for the epoch. */
static pid_t start_racer(const struct datastore *datastore, uint64_t after, int number, int gate,
                         int gate_writer)
{
    pid_t pid = fork();
    if (pid == 0) {
        char host[16];
        char byte;
        close(gate_writer);
        snprintf(host, sizeof(host), "h%d", number);
        int result =
            read(gate, &byte, 1) == 0 ? lease_advance(datastore, "web1", after, host, NULL) : -EIO;
        _exit(result == 0 ? 0 : result == -EEXIST ? 1 : 2);
    }
    return pid;
}

static void of_many_racers_exactly_one_wins(void **state)
{
    struct datastore datastore = open_store(state);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        int gate[2];
        int winner = -1;
        pid_t racers[RACERS];
        assert_int_equal(pipe(gate), 0);
        for (int i = 0; i < RACERS; i++) {
            racers[i] = start_racer(&datastore, round, i, gate[0], gate[1]);
            assert_true(racers[i] > 0);
        }
        close(gate[0]);
        close(gate[1]);
        for (int i = 0; i < RACERS; i++) {
            int status;
            assert_int_equal(waitpid(racers[i], &status, 0), racers[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
            if (WEXITSTATUS(status) == 0) {
                assert_int_equal(winner, -1);
                winner = i;
            }
        }
        char host[16];
        snprintf(host, sizeof(host), "h%d", winner);
        assert_int_equal(read_owner(&datastore).epoch, round + 1);
        assert_string_equal(read_owner(&datastore).host, host);
    }
}

/* Readers never see half a file, or fail, while epochs fly past. */
static void a_reader_keeps_up_with_a_writer(void **state)
{
    struct datastore datastore = open_store(state);
    struct error err = ERROR_NONE;
    pid_t writer = fork();
    if (writer == 0) {
        int result = 0;
        for (uint64_t i = 0; i < 300 && result == 0; i++) {
            result = lease_advance(&datastore, "web1", i, i % 2 ? "h1" : "h2", NULL);
        }
        _exit(result == 0 ? 0 : 1);
    }
    uint64_t last = 0;
    while (last < 300 && waitpid(writer, NULL, WNOHANG) == 0) {
        struct lease owner = read_owner(&datastore);
        assert_true(owner.epoch >= last);
        assert_string_equal(owner.host, owner.epoch == 0 ? "" : owner.epoch % 2 ? "h2" : "h1");
        last = owner.epoch;
    }
    waitpid(writer, NULL, 0);
    assert_int_equal(lease_advance(&datastore, "web1", 300, "h1", &err), 0);
}

static void a_writer_killed_at_any_moment_leaves_a_valid_owner(void **state)
{
    struct datastore datastore = open_store(state);
    for (int round = 0; round < 40; round++) {
        pid_t writer = fork();
        if (writer == 0) {
            struct lease owner;
            while (lease_read(&datastore, "web1", &owner, NULL) == 0) {
                lease_advance(&datastore, "web1", owner.epoch, "h1", NULL);
            }
            _exit(1);
        }
        usleep((useconds_t)(200 + round * 97));
        kill(writer, SIGKILL);
        waitpid(writer, NULL, 0);
        struct error err = ERROR_NONE;
        struct lease owner = read_owner(&datastore);
        assert_int_equal(lease_advance(&datastore, "web1", owner.epoch, "h2", &err), 0);
    }
    struct error err = ERROR_NONE;
    assert_int_equal(datastore_clean(&datastore, &err), 0);
    char command[160];
    snprintf(command, sizeof(command), "test -z \"$(ls -A %s/web1 | grep '^[.]')\"",
             datastore.path);
    assert_int_equal(system(command), 0);
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

static void names_that_leave_are_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct lease owner;
    struct datastore datastore = open_store(state);
    assert_true(lease_read(&datastore, "../web1", &owner, &err) < 0);
    assert_true(lease_read(&datastore, "/tmp", &owner, &err) < 0);
    assert_true(lease_advance(&datastore, "web1", 0, "../h", &err) < 0);
    assert_int_equal(lease_read(&datastore, "web2", &owner, &err), -ENOENT);
    char link[128];
    snprintf(link, sizeof(link), "%s/web2", datastore.path);
    assert_int_equal(symlink("/tmp", link), 0);
    assert_int_equal(lease_advance(&datastore, "web2", 0, "h1", &err), -ELOOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(epochs_follow_each_other),
        scratch_test(a_taken_epoch_is_not_taken_again),
        scratch_test(old_epochs_are_removed),
        scratch_test(of_many_racers_exactly_one_wins),
        scratch_test(a_reader_keeps_up_with_a_writer),
        scratch_test(a_writer_killed_at_any_moment_leaves_a_valid_owner),
        scratch_test(bad_files_are_refused_by_name),
        scratch_test(names_that_leave_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
