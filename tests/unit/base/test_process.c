/* Processes: they get what they are given and nothing else, and are never mistaken for others. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "scratch.h"

#define SHORT_NS (20 * NANOSECONDS_PER_MILLISECOND)
#define LONG_NS (20 * NANOSECONDS_PER_SECOND)

static struct process_identity start(const struct process_spec *spec)
{
    struct error err = ERROR_NONE;
    struct process_identity identity;
    if (process_start(spec, &identity, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return identity;
}

/* Runs a shell script and returns what it printed. */
static const char *output_of(const char *script, struct process_spec spec,
                             const struct process_fd *fds, size_t count)
{
    static char text[4096];
    const char *arguments[] = {"sh", "-c", script, NULL};
    struct process_fd all[65];
    int status;
    CLEANUP_CLOSE int output = memfd_create("output", MFD_CLOEXEC);
    for (size_t i = 0; i < count; i++) {
        all[i] = fds[i];
    }
    all[count] = (struct process_fd){output, STDOUT_FILENO};
    spec.arguments = arguments;
    spec.fds = all;
    spec.fd_count = count + 1;
    struct process_identity identity = start(&spec);
    assert_int_equal(process_wait(&identity, LONG_NS, &status), 1);
    assert_int_equal(status, 0);
    ssize_t length = pread(output, text, sizeof(text) - 1, 0);
    assert_true(length >= 0);
    text[length] = '\0';
    return text;
}

static void a_process_ends_with_its_status(void **state)
{
    (void)state;
    const char *const arguments[] = {"sh", "-c", "exit 7", NULL};
    const struct process_spec spec = {.arguments = arguments};
    struct process_identity identity = start(&spec);
    int status = 0;
    assert_int_equal(process_wait(&identity, LONG_NS, &status), 1);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_int_equal(process_wait(&identity, LONG_NS, &status), 1);
    assert_int_equal(status, -1);
    assert_false(process_is_alive(&identity));
    assert_int_equal(process_open(&identity, NULL), -ESRCH);
}

static void a_program_that_is_not_there_is_reported(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct process_identity identity = {.pid = 77};
    const char *const arguments[] = {"no-such-program", NULL};
    const struct process_spec spec = {.arguments = arguments};
    assert_int_equal(process_start(&spec, &identity, &err), -ENOENT);
    assert_non_null(strstr(err.message, "no-such-program"));
    assert_int_equal(identity.pid, 77);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing left to reap */
    const char *const true_arguments[] = {"true", NULL};
    const struct process_spec bad_log = {.arguments = true_arguments, .log_path = "/no/log"};
    assert_int_equal(process_start(&bad_log, &identity, &err), -ENOENT);
}

static void only_what_is_given_is_open(void **state)
{
    (void)state;
    int leak = dup(STDIN_FILENO); /* not close-on-exec */
    assert_true(leak > 2);
    CLEANUP_CLOSE int given = memfd_create("given", MFD_CLOEXEC);
    const struct process_fd fds[] = {{given, 7}};
    const char *list = output_of("cd /proc/self/fd && echo *", (struct process_spec){0}, fds, 1);
    close(leak);
    int inner[8] = {0};
    int count = sscanf(list, "%d %d %d %d %d %d", &inner[0], &inner[1], &inner[2], &inner[3],
                       &inner[4], &inner[5]);
    assert_true(count == 4 || count == 5); /* the shell's own folder handle, perhaps */
    assert_non_null(strstr(list, "0 1 2"));
    assert_non_null(strstr(list, "7"));
}

/* Child numbers that are parents of others: a cycle and a chain. */
static void descriptors_may_swap_numbers(void **state)
{
    (void)state;
    int fds[3];
    struct process_fd pairs[3];
    for (int i = 0; i < 3; i++) {
        char letter = (char)('a' + i);
        fds[i] = memfd_create("content", MFD_CLOEXEC);
        assert_int_equal(pwrite(fds[i], &letter, 1, 0), 1);
    }
    for (int i = 0; i < 3; i++) {
        pairs[i] = (struct process_fd){fds[i], fds[(i + 1) % 3]};
    }
    char script[128];
    snprintf(script, sizeof(script), "cat /proc/self/fd/%d /proc/self/fd/%d /proc/self/fd/%d",
             fds[0], fds[1], fds[2]);
    assert_string_equal(output_of(script, (struct process_spec){0}, pairs, 3), "cab");
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
}

/* 60 descriptors and a high number, under the usual soft limit of 1024. */
static void many_descriptors_fit_under_the_usual_limit(void **state)
{
    (void)state;
    struct rlimit before;
    struct process_fd fds[60];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit usual = {.rlim_cur = 1024, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    CLEANUP_CLOSE int given = memfd_create("given", MFD_CLOEXEC);
    for (int i = 0; i < 60; i++) {
        fds[i] = (struct process_fd){given, i == 0 ? 900 : 10 + i};
    }
    assert_string_equal(output_of("test -e /proc/self/fd/900 && test -e /proc/self/fd/69 && echo y",
                                  (struct process_spec){0}, fds, 60),
                        "y\n");
    setrlimit(RLIMIT_NOFILE, &before);
}

static void impossible_descriptors_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct process_identity identity;
    const char *const arguments[] = {"true", NULL};
    struct process_fd fds[65] = {{0, 3}};
    struct process_spec spec = {.arguments = arguments, .fds = fds, .fd_count = 65};
    assert_int_equal(process_start(&spec, &identity, &err), -E2BIG);
    spec.fd_count = 1;
    fds[0] = (struct process_fd){-1, 3};
    assert_int_equal(process_start(&spec, &identity, &err), -EBADF);
    fds[0] = (struct process_fd){0, 0};
    assert_int_equal(process_start(&spec, &identity, &err), -EBADF);
    fds[0] = (struct process_fd){999, 3};
    assert_int_equal(process_start(&spec, &identity, &err), -EBADF);
}

/* A daemon may have its standard streams closed: what it opens then is number 0, 1 or 2. */
static void closed_standard_streams_do_no_harm(void **state)
{
    pid_t tester = fork();
    if (tester == 0) {
        char log[128];
        struct process_identity identity;
        int status = -1;
        snprintf(log, sizeof(log), "%s/log", (const char *)*state);
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        int given = memfd_create("given", MFD_CLOEXEC);
        const struct process_fd fds[] = {{given, 5}};
        const char *const arguments[] = {"sh", "-c",
                                         "cat && echo printed && echo wrong >&2 && cat <&5", NULL};
        const struct process_spec spec = {
            .arguments = arguments, .fds = fds, .fd_count = 1, .log_path = log};
        bool good = given == 0 && write(given, "given", 5) == 5 && lseek(given, 0, SEEK_SET) == 0 &&
                    process_start(&spec, &identity, NULL) == 0 &&
                    process_wait(&identity, LONG_NS, &status) == 1 && status == 0;
        _exit(good ? 0 : 1);
    }
    int status;
    char log[128];
    CLEANUP_BUFFER struct buffer text = {0};
    assert_int_equal(waitpid(tester, &status, 0), tester);
    assert_int_equal(status, 0);
    snprintf(log, sizeof(log), "%s/log", (const char *)*state);
    assert_int_equal(file_read(log, 1000, &text, NULL), 0);
    assert_string_equal((char *)text.data, "printed\nwrong\ngiven");
}

static void the_identity_drops(void **state)
{
    (void)state;
    const struct process_spec spec = {.uid = 65534, .gid = 65533};
    const char *text = output_of("grep -E '^(Uid|Gid|Groups|Cap(Prm|Eff|Amb)|NoNewPrivs):' "
                                 "/proc/self/status",
                                 spec, NULL, 0);
    assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534\n"));
    assert_non_null(strstr(text, "Gid:\t65533\t65533\t65533\t65533\n"));
    assert_non_null(strstr(text, "Groups:\t \n"));
    assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
    assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
    assert_non_null(strstr(text, "CapAmb:\t0000000000000000"));
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
}

static void the_environment_is_what_is_given(void **state)
{
    (void)state;
    setenv("SECRET", "1", 1);
    const char *const environment[] = {"A=1", "B=2", NULL};
    const struct process_spec spec = {.environment = environment};
    assert_string_equal(output_of("echo $SECRET$A$B", spec, NULL, 0), "12\n");
    assert_string_equal(output_of("echo $SECRET", (struct process_spec){0}, NULL, 0), "\n");
    unsetenv("SECRET");
}

static void signals_are_reset(void **state)
{
    (void)state;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    const char *text =
        output_of("grep SigBlk /proc/self/status", (struct process_spec){0}, NULL, 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(text, "SigBlk:\t0000000000000000\n");
}

static void waiting_and_killing(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const char *const arguments[] = {"sleep", "1000", NULL};
    const struct process_spec spec = {.arguments = arguments};
    struct process_identity identity = start(&spec);
    int status = 5;
    assert_true(process_is_alive(&identity));
    assert_int_equal(process_wait(&identity, SHORT_NS, &status), 0);
    assert_int_equal(status, 5);
    CLEANUP_CLOSE int pidfd = process_open(&identity, &err);
    assert_true(pidfd >= 0);
    assert_int_equal(process_kill(&identity, &err), 0);
    assert_false(process_is_alive(&identity));
    assert_int_equal(process_kill(&identity, &err), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_reused_pid_is_another_process(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const char *const arguments[] = {"sleep", "1000", NULL};
    const struct process_spec spec = {.arguments = arguments};
    struct process_identity real = start(&spec);
    struct process_identity stale = {.pid = real.pid, .start_time = real.start_time - 1};
    int status = 0;
    assert_false(process_is_alive(&stale));
    assert_int_equal(process_open(&stale, &err), -ESRCH);
    assert_int_equal(process_kill(&stale, &err), 0);
    assert_int_equal(process_wait(&stale, LONG_NS, &status), 1);
    assert_int_equal(status, -1);
    assert_true(process_is_alive(&real));
    kill(real.pid, SIGKILL);
    clock_sleep_ns(SHORT_NS);
    assert_int_equal(process_wait(&stale, LONG_NS, NULL), 1); /* does not reap the other */
    assert_int_equal(process_wait(&real, LONG_NS, &status), 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void nobody_is_no_process(void **state)
{
    (void)state;
    struct process_identity nobody = {0};
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(3);
    }
    clock_sleep_ns(SHORT_NS);
    assert_false(process_is_alive(&nobody));
    assert_int_equal(process_open(&nobody, NULL), -ESRCH);
    assert_int_equal(process_kill(&nobody, NULL), 0);
    assert_int_equal(process_wait(&nobody, LONG_NS, NULL), 1);
    assert_int_equal(waitpid(child, &status, 0), child); /* was not reaped in passing */
    assert_int_equal(WEXITSTATUS(status), 3);
}

static void a_zombie_does_not_run(void **state)
{
    (void)state;
    const char *const arguments[] = {"true", NULL};
    const struct process_spec spec = {.arguments = arguments};
    struct process_identity identity = start(&spec);
    int status = 1;
    for (int i = 0; i < 1000 && process_is_alive(&identity); i++) {
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    }
    assert_false(process_is_alive(&identity));
    assert_int_equal(process_wait(&identity, LONG_NS, &status), 1);
    assert_int_equal(status, 0);
}

static void *outlive(void *unused)
{
    (void)unused;
    clock_sleep_ns(200 * NANOSECONDS_PER_MILLISECOND);
    _exit(9);
}

/* /proc shows a process as a zombie when its first thread has ended; its others still run. */
static void a_process_runs_until_its_last_thread_ends(void **state)
{
    (void)state;
    int pipes[2];
    struct process_identity identity;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        struct process_identity self;
        process_self(&self);
        pthread_create(&thread, NULL, outlive, NULL);
        if (write(pipes[1], &self, sizeof(self)) == sizeof(self)) {
            pthread_exit(NULL);
        }
    }
    int status = 0;
    assert_int_equal(read(pipes[0], &identity, sizeof(identity)), sizeof(identity));
    clock_sleep_ns(50 * NANOSECONDS_PER_MILLISECOND);
    assert_true(process_is_alive(&identity));
    assert_int_equal(process_wait(&identity, LONG_NS, &status), 1);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    close(pipes[0]);
    close(pipes[1]);
}

/* With at most so many descriptors: what waiting for a process and ending it say. */
static void try_with(rlim_t descriptors, const struct process_identity *identity, int *ret_waited,
                     int *ret_killed, bool *ret_alive)
{
    struct error err = ERROR_NONE;
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    struct rlimit few = {.rlim_cur = descriptors, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    *ret_waited = process_wait(identity, SHORT_NS, NULL);
    *ret_killed = process_kill(identity, &err);
    *ret_alive = process_is_alive(identity);
    setrlimit(RLIMIT_NOFILE, &before);
}

/* Without a free descriptor, or with one where it takes two, nothing can be told: that is not
 * "ended". */
static void without_descriptors_nothing_is_taken_for_ended(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    int lowest = dup(STDIN_FILENO);
    const rlim_t limits[] = {3, (rlim_t)lowest + 1};
    const char *const arguments[] = {"sleep", "1000", NULL};
    const struct process_spec spec = {.arguments = arguments};
    struct process_identity identity = start(&spec);
    close(lowest);
    for (size_t i = 0; i < 2; i++) {
        int waited;
        int killed;
        bool alive;
        try_with(limits[i], &identity, &waited, &killed, &alive);
        assert_int_equal(waited, -EMFILE);
        assert_int_equal(killed, -EMFILE);
        assert_true(alive);
    }
    assert_true(process_is_alive(&identity));
    assert_int_equal(process_kill(&identity, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_ends_with_its_status),
        cmocka_unit_test(a_program_that_is_not_there_is_reported),
        cmocka_unit_test(only_what_is_given_is_open),
        cmocka_unit_test(descriptors_may_swap_numbers),
        cmocka_unit_test(many_descriptors_fit_under_the_usual_limit),
        cmocka_unit_test(impossible_descriptors_are_refused),
        scratch_test(closed_standard_streams_do_no_harm),
        cmocka_unit_test(the_identity_drops),
        cmocka_unit_test(the_environment_is_what_is_given),
        cmocka_unit_test(signals_are_reset),
        cmocka_unit_test(waiting_and_killing),
        cmocka_unit_test(a_reused_pid_is_another_process),
        cmocka_unit_test(nobody_is_no_process),
        cmocka_unit_test(a_zombie_does_not_run),
        cmocka_unit_test(a_process_runs_until_its_last_thread_ends),
        cmocka_unit_test(without_descriptors_nothing_is_taken_for_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
