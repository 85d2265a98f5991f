/*
 * What is sanlock's own about leases of that kind: beats that are the daemon's, and a host that was
 * frozen while it took an epoch.
 */
#include "lease_world.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/lease_change.h"
#include "storage/lease_kind.h"

#define HEARTBEAT (2 * NANOSECONDS_PER_SECOND)
#define SLOW_TESTS "DROVER_SLOW_TESTS"
#define SLOW_COUNT 2 /* at the end of the list */

static struct host_sighting look(struct observer *observer, const char *host)
{
    struct error err = ERROR_NONE;
    struct host_sighting sighting;
    if (observer_look(observer, host, &sighting, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return sighting;
}

static struct observer *open_observer(void)
{
    struct error err = ERROR_NONE;
    struct observer *observer = NULL;
    assert_int_equal(observer_open(world_datastore(), NULL, &observer, &err), 0);
    return observer;
}

/* Looks until the host is of that health; returns how long its beat stood still then. */
static uint64_t await_health(struct observer *observer, const char *host, enum host_health health,
                             uint64_t patience_ns)
{
    uint64_t begun = clock_monotonic_ns();
    for (;;) {
        struct host_sighting sighting = look(observer, host);
        if (sighting.health == health) {
            return sighting.still_ns;
        }
        if (clock_monotonic_ns() - begun > patience_ns) {
            fail_msg("%s is %s, not %s", host, host_health_name(sighting.health),
                     host_health_name(health));
        }
        clock_sleep_ns(HEARTBEAT / 20);
    }
}

static void restart_daemon(int number)
{
    int status;
    world_start_daemon(number);
    pid_t pid = fork();
    if (pid == 0) {
        renewal_close(world_renewal(number));
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- beats ---- */

static void hosts_whose_daemons_renew_are_alive(void **state)
{
    struct error err = ERROR_NONE;
    struct host_sighting *sightings = NULL;
    size_t count;
    struct observer *observer = open_observer();
    (void)state;
    assert_int_equal(look(observer, "h1").health, HOST_UNKNOWN);
    assert_int_equal(look(observer, "h9").health, HOST_ABSENT);
    await_health(observer, "h1", HOST_ALIVE, 4 * HEARTBEAT);
    await_health(observer, "h2", HOST_ALIVE, 4 * HEARTBEAT);
    assert_int_equal(observer_look_all(observer, &sightings, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_string_equal(sightings[1].host, "h2");
    free(sightings);
    observer_close(observer);
}

/* In a process of its own on host 2: its renewals go on, and end when the daemon does. */
static void renew_until_the_daemon_dies(const int died[2])
{
    struct error err = ERROR_NONE;
    uint64_t proven = 0;
    char byte;
    struct renewal *renewal = world_renewal(2);
    int result = renewal_renew(renewal, &proven, &err);
    uint64_t now = clock_boottime_ns();
    bool recent = result == 0 && proven < now && now - proven <= 3 * HEARTBEAT;
    if (!recent || write(died[1], "", 1) != 1 || read(died[0], &byte, 1) != 1) {
        _exit(1);
    }
    result = renewal_renew(renewal, &proven, &err);
    _exit(result == -ENOTCONN && strstr(err.message, "sanlock daemon") ? 0 : 2);
}

static void a_dead_daemon_renews_nothing(void **state)
{
    int ready[2];
    int died[2];
    int status;
    char byte;
    (void)state;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(died), 0);
    pid_t pid = fork();
    if (pid == 0) {
        renew_until_the_daemon_dies((int[2]){died[0], ready[1]});
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    world_kill_daemon(2);
    assert_int_equal(write(died[1], "", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct observer *observer = open_observer();
    await_health(observer, "h2", HOST_SILENT, 8 * HEARTBEAT);
    assert_int_equal(world_advance(2, 0, "h2"), -ENOTCONN);
    assert_int_equal(world_read().epoch, 0);
    /* Whoever vouches that the host is off takes its VMs over at once. */
    assert_int_equal(world_advance(1, 0, "h1"), 0);
    restart_daemon(2);
    await_health(observer, "h2", HOST_ALIVE, 8 * HEARTBEAT);
    observer_close(observer);
}

/* In a process of its own on host 2, whose daemon is in no lockspace: a host whose number is free
 * has joined in half of the time. Sanlock itself watches for its take-over time before it gives up.
 */
static void beat_as_another(const char *host)
{
    struct error err = ERROR_NONE;
    struct renewal *renewal = NULL;
    uint64_t proven;
    uint64_t patience = (getenv(SLOW_TESTS) ? 60 : 5) * HEARTBEAT;
    uint64_t begun = clock_monotonic_ns();
    int result = renewal_open(world_datastore(), host, "machine2", NULL, &renewal, &err);
    while (result != -EBUSY && clock_monotonic_ns() - begun < patience) {
        result = renewal_renew(renewal, &proven, &err);
        if (result >= 0) {
            _exit(1);
        }
        clock_sleep_ns(HEARTBEAT / 10);
    }
    printf("# after %.1f s: %s\n", (double)(clock_monotonic_ns() - begun) / 1e9, err.message);
    fflush(stdout);
    _exit(result == -EBUSY || (result == -EAGAIN && !getenv(SLOW_TESTS)) ? 0 : 2);
}

static void another_machine_of_the_same_name_is_refused(void **state)
{
    int status;
    (void)state;
    world_kill_daemon(2);
    world_start_daemon(2);
    pid_t pid = fork();
    if (pid == 0) {
        beat_as_another("h1");
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct observer *observer = open_observer();
    look(observer, "h1");
    await_health(observer, "h1", HOST_ALIVE, 4 * HEARTBEAT);
    observer_close(observer);
    world_kill_daemon(2);
    restart_daemon(2);
}

/* ---- a host that is frozen ---- */

static bool is_write(pid_t pid)
{
    struct __ptrace_syscall_info info = {0};
    ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
    return info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_pwrite64;
}

/* A process of host 1 that stands right before it writes its record. */
static pid_t start_taker_and_freeze(void)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        world_be_host(1);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        _exit(-lease_advance(world_datastore(), "web1", 1, "h1", NULL));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    long options = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD;
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, options), 0);
    do {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSTOPPED(status));
    } while (!is_write(pid));
    return pid;
}

/* While host 1 is frozen its daemon is lost, and comes back: sanlock frees the resource, as it does
 * after the host's death, but sooner. */
static void a_host_frozen_while_it_takes_an_epoch_does_not_win(void **state)
{
    int status;
    (void)state;
    assert_int_equal(world_advance(2, 0, "h2"), 0);
    pid_t frozen = start_taker_and_freeze();
    world_kill_daemon(1);
    restart_daemon(1);
    assert_int_equal(world_advance(2, 1, "h2"), 0);
    assert_int_equal(ptrace(PTRACE_DETACH, frozen, NULL, NULL), 0);
    assert_int_equal(waitpid(frozen, &status, 0), frozen);
    if (!WIFEXITED(status)) {
        fail_msg("it was killed by signal %d", WTERMSIG(status));
    }
    assert_int_equal(-WEXITSTATUS(status), -EEXIST);
    assert_int_equal(world_read().epoch, 2);
    assert_string_equal(world_read().host, "h2");
    assert_int_equal(world_advance(1, 2, "h1"), 0);
    assert_string_equal(world_read().host, "h1");
}

/* ---- damage ---- */

static void a_damaged_record_is_refused_by_name(void **state)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    (void)state;
    assert_int_equal(world_advance(1, 0, "h1"), 0);
    CLEANUP_FREE char *path = file_path("%s/web1/lease.sanlock", world_datastore()->path);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    for (long slot = 0; slot < 16; slot++) {
        fseek(file, (1L << 20) + slot * 4096 + 30, SEEK_SET);
        fputc('x', file);
    }
    fclose(file);
    assert_int_equal(lease_read(world_datastore(), "web1", &lease, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "web1/lease.sanlock"));
    assert_int_equal(world_advance(1, 1, "h2"), -EBADMSG);
}

/* ---- from and to other kinds ---- */

static void an_adopted_epoch_goes_on(void **state)
{
    struct error err = ERROR_NONE;
    struct lease lease;
    (void)state;
    assert_int_equal(lease_adopt(world_datastore(), LEASE_SANLOCK, "web1", 41, &err), 0);
    assert_int_equal(world_read().epoch, 41);
    assert_string_equal(world_read().host, "");
    for (uint64_t after = 41; after < 60; after++) {
        assert_int_equal(world_advance(1 + (int)after % 2, after, "h1"), 0);
        assert_int_equal(world_read().epoch, after + 1);
    }
    assert_int_equal(lease_adopt(world_datastore(), LEASE_SANLOCK, "web1", 7, &err), 0);
    assert_int_equal(world_read().epoch, 7);
    struct datastore files = *world_datastore();
    assert_int_equal(lease_adopt(&files, LEASE_FILE, "web1", 60, &err), 0);
    world_change_settings("{\"kind\": \"file\"}");
    assert_int_equal(datastore_open(files.name, files.path, &files, &err), 0);
    assert_int_equal(lease_read(&files, "web1", &lease, &err), 0);
    assert_int_equal(lease.epoch, 60);
}

/* ---- what takes minutes, and figures for docs/ownership.md: only with DROVER_SLOW_TESTS ---- */

static void the_take_over_takes_its_time(void **state)
{
    (void)state;
    struct observer *observer = open_observer();
    await_health(observer, "h2", HOST_ALIVE, 4 * HEARTBEAT);
    uint64_t begun = clock_monotonic_ns();
    world_kill_daemon(2);
    await_health(observer, "h2", HOST_DEAD, 100 * NANOSECONDS_PER_SECOND);
    assert_int_equal(world_advance(1, 0, "h1"), 0);
    print_message("# taken over %.1f s after the daemon's death\n",
                  (double)(clock_monotonic_ns() - begun) / 1e9);
    observer_close(observer);
}

static bool go_on(void *context, uint64_t left_ns)
{
    (void)context;
    (void)left_ns;
    return true;
}

static void files_take_over_when_all_daemons_are_gone(void **state)
{
    struct error err = ERROR_NONE;
    struct lease_settings files = {.kind = LEASE_LOCAL};
    struct datastore changed = *world_datastore();
    struct lease lease;
    (void)state;
    world_write("web1/vm.json", "{}", 2);
    assert_int_equal(world_advance(1, 0, "h1"), 0);
    assert_int_equal(world_advance(1, 1, ""), 0);
    assert_int_equal(lease_change(world_datastore(), &files, go_on, NULL, &err), -EBUSY);
    assert_non_null(strstr(err.remedy, "sanlock client shutdown"));
    world_kill_daemon(1);
    assert_int_equal(lease_change(world_datastore(), &files, go_on, NULL, &err), 0);
    assert_int_equal(datastore_open(changed.name, changed.path, &changed, &err), 0);
    assert_int_equal(lease_read(&changed, "web1", &lease, &err), 0);
    assert_int_equal(lease.epoch, 2);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        world_test(hosts_whose_daemons_renew_are_alive),
        world_test(a_dead_daemon_renews_nothing),
        world_test(another_machine_of_the_same_name_is_refused),
        world_test(a_host_frozen_while_it_takes_an_epoch_does_not_win),
        world_test(a_damaged_record_is_refused_by_name),
        world_test(an_adopted_epoch_goes_on),
        world_test(the_take_over_takes_its_time),
        world_test(files_take_over_when_all_daemons_are_gone),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]) - (getenv(SLOW_TESTS) ? 0 : SLOW_COUNT);
    return world_run_tests(tests, count, argc, argv);
}
