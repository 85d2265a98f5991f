/* The filter of system calls: what it ends, what it says, what it lets through. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mover/sandbox.h"

struct end {
    int status;
    char text[512]; /* what it wrote into its log */
};

/* Runs `act` behind the filter of that role, in a process of its own. */
static struct end run(enum mover_role role, void (*act)(void))
{
    struct end end = {0};
    CLEANUP_CLOSE int log = memfd_create("log", MFD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(log, STDERR_FILENO);
        if (sandbox_filter_calls(role, NULL) < 0) {
            _exit(99);
        }
        act();
        syscall(SYS_exit_group, 0);
    }
    assert_int_equal(waitpid(pid, &end.status, 0), pid);
    assert_true(pread(log, end.text, sizeof(end.text) - 1, 0) >= 0);
    return end;
}

static void skip_unless_filtered(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("# skipped: sanitizers make calls of their own, so there is no filter\n");
    skip();
#endif
}

static void assert_ended(enum mover_role role, void (*act)(void), const char *words)
{
    struct end end = run(role, act);
    skip_unless_filtered();
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGSYS);
    assert_non_null(strstr(end.text, words));
}

static void assert_goes_on(enum mover_role role, void (*act)(void))
{
    struct end end = run(role, act);
    assert_int_equal(end.status, 0);
}

static void execute(void)
{
    char *const arguments[] = {"true", NULL};
    execv("/usr/bin/true", arguments);
}

static void listen_somewhere(void)
{
    listen(0, 1);
}

static void connect_anywhere(void)
{
    socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void talk_past_tcp(void)
{
    socket(AF_UNIX, SOCK_STREAM, 0);
}

static void map_code(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void fork_once(void)
{
    syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void handle_the_end(void)
{
    signal(SIGSYS, SIG_IGN);
}

static void open_a_file(void)
{
    if (open("/etc/passwd", O_RDONLY) != -1 || errno != ENOENT) {
        syscall(SYS_exit_group, 1);
    }
}

static void map_memory(void)
{
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
        MAP_FAILED) {
        syscall(SYS_exit_group, 1);
    }
}

static void a_forbidden_call_ends_the_mover_with_its_number_in_the_log(void **state)
{
    char words[64];
    (void)state;
    snprintf(words, sizeof(words), "tried system call %d,", SYS_execve);
    for (enum mover_role role = MOVER_ROLE_SOURCE; role <= MOVER_ROLE_SAMPLE; role++) {
        assert_ended(role, execute, words);
        assert_ended(role, listen_somewhere, "system call");
        assert_ended(role, map_code, "system call");
        assert_ended(role, fork_once, "system call");
        assert_ended(role, handle_the_end, "system call");
        assert_ended(role, talk_past_tcp, "system call");
    }
}

static void only_a_source_makes_connections(void **state)
{
    (void)state;
    assert_goes_on(MOVER_ROLE_SOURCE, connect_anywhere);
    assert_ended(MOVER_ROLE_DESTINATION, connect_anywhere, "system call");
    assert_ended(MOVER_ROLE_SAMPLE, connect_anywhere, "system call");
}

static void files_are_not_there_and_memory_is(void **state)
{
    (void)state;
    skip_unless_filtered();
    for (enum mover_role role = MOVER_ROLE_SOURCE; role <= MOVER_ROLE_SAMPLE; role++) {
        assert_goes_on(role, open_a_file);
        assert_goes_on(role, map_memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forbidden_call_ends_the_mover_with_its_number_in_the_log),
        cmocka_unit_test(only_a_source_makes_connections),
        cmocka_unit_test(files_are_not_there_and_memory_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
