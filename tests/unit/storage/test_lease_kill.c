/*
 * kill -9 in the middle of taking an epoch: once before and once after each of its system calls.
 * Afterwards the lease is the old one or the new one, whole, and the next host goes on from there.
 */
#include "lease_world.h"

#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define STOPS_MOST 2000

/* Runs one advance and kills it when it stops for the n-th time, at the beginning or end of a
 * system call. False: it had ended before. */
static bool kill_at_stop(uint64_t after, int n)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        _exit(lease_advance(world_datastore(), "web1", after, "h1", NULL) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL), 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status)) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            return false;
        }
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return true;
}

static void the_lease_is_whole_wherever_its_taker_is_killed(void **state)
{
    bool killed = true;
    int kept = 0;
    int taken = 0;
    (void)state;
    for (int n = 1; killed && n < STOPS_MOST; n++) {
        uint64_t before = world_read().epoch;
        killed = kill_at_stop(before, n);
        struct lease lease = world_read();
        assert_true(lease.epoch == before || lease.epoch == before + 1);
        bool is_new = lease.epoch == before + 1;
        assert_string_equal(lease.host, is_new ? "h1" : before == 0 ? "" : "h2");
        taken += is_new;
        kept += !is_new;
        assert_int_equal(world_advance(2, lease.epoch, "h2"), 0);
    }
    assert_false(killed);
    assert_true(taken > 1 && kept > 1);
}

/* Nothing unfinished is left once an agent has started. */
static void what_the_killed_left_is_cleaned(void **state)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *path = file_path("%s/web1", world_datastore()->path);
    (void)state;
    for (int n = 1; kill_at_stop(world_read().epoch, n); n += 3) {
    }
    assert_int_equal(datastore_clean(world_datastore(), &err), 0);
    CLEANUP_DIRECTORY DIR *folder = opendir(path);
    struct dirent *entry;
    while ((entry = readdir(folder))) {
        bool is_folder = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        assert_true(is_folder || entry->d_name[0] != '.');
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        world_test(the_lease_is_whole_wherever_its_taker_is_killed),
        world_test(what_the_killed_left_is_cleaned),
    };
    return world_run(tests, argc, argv);
}
