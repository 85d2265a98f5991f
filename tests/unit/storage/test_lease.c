/*
 * What every kind of lease must do: of all who reach for an epoch exactly one gets it, whoever
 * comes late, and whatever befalls the datastore.
 */
#include "lease_world.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define RACERS 12

static int advance(uint64_t after, const char *host)
{
    return world_advance(1 + (int)after % WORLD_HOSTS, after, host);
}

static int rounds(void)
{
    return world_kind() == LEASE_SANLOCK ? 4 : 20;
}

static void epochs_follow_each_other(void **state)
{
    static const char *const hosts[] = {"h1", "h2", "", "h3"};
    (void)state;
    assert_int_equal(world_read().epoch, 0);
    assert_string_equal(world_read().host, "");
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(advance(i, hosts[i % 4]), 0);
        assert_int_equal(world_read().epoch, i + 1);
        assert_string_equal(world_read().host, hosts[i % 4]);
    }
}

static void a_taken_epoch_is_not_taken_again(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 6; i++) {
        assert_int_equal(advance(i, "h1"), 0);
    }
    for (uint64_t after = 0; after < 6; after++) {
        assert_int_equal(advance(after, "h2"), -EEXIST);
    }
    assert_int_equal(advance(7, "h2"), -EINVAL);
    assert_int_equal(world_read().epoch, 6);
    assert_string_equal(world_read().host, "h1");
}

/* One racer of one round: waits for the pipe to close, then reaches for the epoch. */
static pid_t start_racer(uint64_t after, int number, const int gate[2])
{
    pid_t pid = fork();
    if (pid == 0) {
        char host[16];
        char byte;
        close(gate[1]);
        world_be_host(1 + number % WORLD_HOSTS);
        snprintf(host, sizeof(host), "h%d", number);
        int result = read(gate[0], &byte, 1) == 0
                         ? lease_advance(world_datastore(), "web1", after, host, NULL)
                         : -EIO;
        _exit(result == 0 ? 0 : result == -EEXIST ? 1 : 2);
    }
    return pid;
}

/* The number of the one that won. */
static int race(uint64_t after)
{
    int gate[2];
    int winner = -1;
    pid_t racers[RACERS];
    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = start_racer(after, i, gate);
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
    return winner;
}

static void of_many_racers_exactly_one_wins(void **state)
{
    (void)state;
    for (int round = 0; round < rounds(); round++) {
        char host[16];
        snprintf(host, sizeof(host), "h%d", race((uint64_t)round));
        assert_int_equal(world_read().epoch, round + 1);
        assert_string_equal(world_read().host, host);
    }
}

/* Readers never see half a lease, or fail, while epochs fly past. */
static void a_reader_keeps_up_with_a_writer(void **state)
{
    uint64_t epochs = (uint64_t)rounds() * 15;
    (void)state;
    pid_t writer = fork();
    if (writer == 0) {
        int result = 0;
        for (uint64_t i = 0; i < epochs && result == 0; i++) {
            result = lease_advance(world_datastore(), "web1", i, i % 2 ? "h1" : "h2", NULL);
        }
        _exit(result == 0 ? 0 : 1);
    }
    uint64_t last = 0;
    int status = -1;
    while (waitpid(writer, &status, WNOHANG) == 0) {
        struct lease lease = world_read();
        assert_true(lease.epoch >= last);
        assert_string_equal(lease.host, lease.epoch == 0 ? "" : lease.epoch % 2 ? "h2" : "h1");
        last = lease.epoch;
    }
    assert_int_equal(status, 0);
    assert_int_equal(world_read().epoch, epochs);
}

static void names_that_leave_are_refused(void **state)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    (void)state;
    assert_int_equal(lease_read(world_datastore(), "../web1", &lease, &err), -EINVAL);
    assert_int_equal(lease_read(world_datastore(), "/tmp", &lease, &err), -EINVAL);
    assert_int_equal(lease_advance(world_datastore(), "web1", 0, "../h", &err), -EINVAL);
    assert_int_equal(lease_read(world_datastore(), "web2", &lease, &err), -ENOENT);
    assert_int_equal(lease_advance(world_datastore(), "web2", 0, "h1", &err), -ENOENT);
}

/* A lease may want room for a new epoch: then it says so, and stays as it is. */
static void a_full_datastore_harms_no_lease(void **state)
{
    (void)state;
    assert_int_equal(advance(0, "h1"), 0);
    world_fill();
    int result = advance(1, "h2");
    assert_true(result == 0 || result == -ENOSPC);
    assert_string_equal(world_read().host, result == 0 ? "h2" : "h1");
    world_restore();
    assert_int_equal(advance(result == 0 ? 2 : 1, "h3"), 0);
    assert_string_equal(world_read().host, "h3");
}

static void a_readonly_datastore_can_be_read(void **state)
{
    (void)state;
    assert_int_equal(advance(0, "h1"), 0);
    world_make_readonly();
    assert_int_equal(advance(1, "h2"), -EROFS);
    assert_string_equal(world_read().host, "h1");
}

static void assert_stale(void)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    assert_int_equal(lease_read(world_datastore(), "web1", &lease, &err), -ESTALE);
    assert_int_equal(lease_advance(world_datastore(), "web1", 1, "h2", &err), -ESTALE);
    assert_non_null(strstr(err.message, "is not the datastore store any more"));
    assert_non_null(strstr(err.remedy, "mount"));
}

static void a_vanished_datastore_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(advance(0, "h1"), 0);
    world_unmount();
    assert_stale();
    world_restore();
    assert_int_equal(world_read().epoch, 1);
}

static void another_datastore_in_its_place_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(advance(0, "h1"), 0);
    world_mount_other();
    assert_stale();
    world_restore();
    assert_int_equal(world_read().epoch, 1);
}

static void changed_settings_are_noticed(void **state)
{
    (void)state;
    assert_int_equal(advance(0, "h1"), 0);
    world_change_settings("{\"kind\": \"file\", \"heartbeat_ms\": 400}");
    assert_stale();
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        world_test(epochs_follow_each_other),
        world_test(a_taken_epoch_is_not_taken_again),
        world_test(of_many_racers_exactly_one_wins),
        world_test(a_reader_keeps_up_with_a_writer),
        world_test(names_that_leave_are_refused),
        world_test(a_full_datastore_harms_no_lease),
        world_test(a_readonly_datastore_can_be_read),
        world_test(a_vanished_datastore_is_noticed),
        world_test(another_datastore_in_its_place_is_noticed),
        world_test(changed_settings_are_noticed),
    };
    return world_run(tests, argc, argv);
}
