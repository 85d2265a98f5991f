/*
 * A process that the kernel kills at a moment set in advance: what ends a QEMU whose host can no
 * longer prove that it lives (src/vmm/qemu/preload_deadline.c).
 *
 * The victim counts in shared memory and does nothing else, so the count says how long it ran. It
 * is unprivileged, as QEMU is.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

#define DEADLINE_MS 400
#define LATE_MS 600 /* well after the deadline */
#define PATIENCE_MS 10000
#define FREEZER PLATFORM_FOLDER "/freezer"
#define FREEZER_GROUP FREEZER "/drover-platform"

struct shared {
    _Atomic uint64_t count;
    _Atomic int ready; /* 1: the timer is armed; negative: errno */
    _Atomic int again; /* set by the test: move the deadline on for as long as it is set */
};

static struct shared *shared;

static void sleep_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
        continue;
}

static int arm(timer_t timer)
{
    struct itimerspec at = {0};

    clock_gettime(CLOCK_BOOTTIME, &at.it_value);
    at.it_value.tv_nsec += DEADLINE_MS * 1000000L;
    at.it_value.tv_sec += at.it_value.tv_nsec / 1000000000;
    at.it_value.tv_nsec %= 1000000000;
    return timer_settime(timer, TIMER_ABSTIME, &at, NULL);
}

static __attribute__((noreturn)) void live(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    timer_t timer;

    if (platform_drop_privileges() < 0 || timer_create(CLOCK_BOOTTIME, &event, &timer) < 0 ||
        arm(timer) < 0) {
        shared->ready = -errno;
        _exit(1);
    }
    shared->ready = 1;
    for (;;) {
        shared->count++;
        if (shared->again && shared->count % 1000 == 0)
            arm(timer);
    }
}

static pid_t start_victim(bool extending)
{
    pid_t pid;

    *shared = (struct shared){.again = extending};
    pid = platform_fork();
    platform_must(pid >= 0, "fork");
    if (pid == 0)
        live();
    while (!shared->ready)
        sleep_ms(1);
    if (shared->ready < 0)
        fail_msg("no timer: %s", strerror(-shared->ready));
    while (shared->count == 0)
        sleep_ms(1);
    return pid;
}

/* Waits for the end by SIGKILL; fails when it does not come. */
static void expect_end(pid_t pid)
{
    double begun = platform_now_ms();
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) != pid || !WIFSIGNALED(status)) {
        if (platform_now_ms() > begun + PATIENCE_MS)
            fail_msg("it lives, %d ms after its deadline", PATIENCE_MS);
        sleep_ms(1);
    }
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void test_a_running_process_ends(void **state)
{
    (void)state;
    expect_end(start_victim(false));
}

static void test_a_process_lives_while_its_deadline_is_moved_on(void **state)
{
    pid_t pid = start_victim(true);

    (void)state;
    sleep_ms(3L * DEADLINE_MS);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    shared->again = 0;
    expect_end(pid);
}

static void test_a_stopped_process_ends_and_runs_no_more(void **state)
{
    pid_t pid = start_victim(false);
    uint64_t count;

    (void)state;
    kill(pid, SIGSTOP);
    platform_must(waitpid(pid, NULL, WUNTRACED) == pid, "waitpid");
    count = shared->count;
    expect_end(pid);
    assert_true(shared->count == count);
}

static void test_a_traced_process_ends_and_runs_no_more(void **state)
{
    pid_t pid = start_victim(false);
    uint64_t count;

    (void)state;
    platform_must(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0, "ptrace");
    platform_must(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0, "ptrace");
    platform_must(waitpid(pid, NULL, 0) == pid, "waitpid");
    count = shared->count;
    expect_end(pid);
    assert_true(shared->count == count);
}

/* ---- a frozen one: the freezer of cgroups, version 1, stops kill(2) too ---- */

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return written;
}

static bool is_frozen(void)
{
    char text[16] = "";
    int fd = open(FREEZER_GROUP "/freezer.state", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
        text[0] = '\0';
    if (fd >= 0)
        close(fd);
    return strcmp(text, "FROZEN\n") == 0;
}

static void require_freezer(void)
{
    mkdir(FREEZER, 0755);
    if (mount("cgroup", FREEZER, "cgroup", 0, "freezer") < 0)
        platform_skip_case("no freezer of cgroups, version 1: %s", strerror(errno));
    mkdir(FREEZER_GROUP, 0755);
    platform_must(access(FREEZER_GROUP "/freezer.state", F_OK) == 0, "freezer.state");
}

static void test_a_frozen_process_runs_no_more_once_it_is_thawed(void **state)
{
    char text[16];
    pid_t pid;
    uint64_t count;

    (void)state;
    require_freezer();
    pid = start_victim(false);
    snprintf(text, sizeof(text), "%d", (int)pid);
    platform_must(write_file(FREEZER_GROUP "/cgroup.procs", text), "cgroup.procs");
    platform_must(write_file(FREEZER_GROUP "/freezer.state", "FROZEN"), "freezer.state");
    while (!is_frozen())
        sleep_ms(1);
    count = shared->count;
    sleep_ms(LATE_MS);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* this freezer holds the dead too */
    platform_must(write_file(FREEZER_GROUP "/freezer.state", "THAWED"), "freezer.state");
    expect_end(pid);
    assert_true(shared->count == count);
    rmdir(FREEZER_GROUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_running_process_ends),
        cmocka_unit_test(test_a_process_lives_while_its_deadline_is_moved_on),
        cmocka_unit_test(test_a_stopped_process_ends_and_runs_no_more),
        cmocka_unit_test(test_a_traced_process_ends_and_runs_no_more),
        cmocka_unit_test(test_a_frozen_process_runs_no_more_once_it_is_thawed),
    };

    platform_private_mounts();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    platform_must(shared != MAP_FAILED, "mmap");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
