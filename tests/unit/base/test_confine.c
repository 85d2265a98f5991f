/* What a confined process can still see and do, told by a shell inside. Takes root. */
#include "test.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/process.h"
#include "scratch.h"

#define USER 65534
#define LONG_NS (20 * NANOSECONDS_PER_SECOND)

struct inside {
    int status;
    char text[4096];
};

/* Runs a script behind walls: libraries and programs, and the scratch folder for writing. */
static struct inside run(void **state, const char *script, bool may_chroot)
{
    struct inside inside = {0};
    struct error err = ERROR_NONE;
    struct process_identity identity;
    const struct confine_path paths[] = {CONFINE_LIBRARIES,
                                         {"/bin", CONFINE_READ},
                                         {*state, CONFINE_WRITE},
                                         {"/dev/null", CONFINE_DEVICE},
                                         {"/no/such/path", CONFINE_READ}};
    const struct confine_limit limits[] = {{RLIMIT_CORE, 0}, {RLIMIT_NOFILE, 100}};
    const struct confinement confinement = {.paths = paths,
                                            .path_count = sizeof(paths) / sizeof(paths[0]),
                                            .limits = limits,
                                            .limit_count = 2,
                                            .has_proc = true,
                                            .may_chroot = may_chroot};
    const char *const arguments[] = {"/usr/bin/sh", "-c", script, NULL};
    CLEANUP_CLOSE int output = memfd_create("output", MFD_CLOEXEC);
    const struct process_fd fds[] = {{output, STDOUT_FILENO}, {output, STDERR_FILENO}};
    const struct process_spec spec = {.arguments = arguments,
                                      .fds = fds,
                                      .fd_count = 2,
                                      .uid = USER,
                                      .gid = USER,
                                      .confinement = &confinement};
    if (process_start(&spec, &identity, &err) < 0) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(process_wait(&identity, LONG_NS, &inside.status), 1);
    ssize_t length = pread(output, inside.text, sizeof(inside.text) - 1, 0);
    assert_true(length >= 0);
    return inside;
}

static void assert_says(void **state, const char *script, const char *wanted)
{
    assert_string_equal(run(state, script, false).text, wanted);
}

static void only_named_paths_are_there(void **state)
{
    char script[256];
    chmod(*state, 0755);
    assert_says(state, "for at in /*; do test -L $at || echo $at; done",
                "/dev\n/empty\n/etc\n/proc\n/tmp\n/usr\n");
    assert_says(state, "echo /dev/* /etc/*", "/dev/null /etc/ld.so.cache\n");
    snprintf(script, sizeof(script), "test -d %s && echo /tmp/*", (const char *)*state);
    assert_int_equal(run(state, script, false).status, 0);
    assert_says(state, "test -e /work -o -e /root -o -e /var -o -e /sys || echo none", "none\n");
}

static void what_is_to_be_read_cannot_be_written(void **state)
{
    assert_says(state, "touch /usr/x /x /empty/x 2>/dev/null || echo no", "no\n");
    assert_says(state, "findmnt -n -o OPTIONS /usr | grep -c '^ro,nosuid,nodev'", "1\n");
}

static void what_is_to_be_written_cannot_be_executed(void **state)
{
    char script[256];
    assert_int_equal(chown(*state, USER, USER), 0);
    snprintf(script, sizeof(script),
             "cd %s && cp /usr/bin/true it && chmod 755 it && ./it 2>/dev/null; echo $?",
             (const char *)*state);
    assert_says(state, script, "126\n");
}

static void no_privilege_is_left(void **state)
{
    assert_says(state, "grep -E '^Cap|^NoNew|^Groups|^Uid' /proc/self/status | tr -d '\\t '",
                "Uid:65534655346553465534\nGroups:\nCapInh:0000000000000000\n"
                "CapPrm:0000000000000000\nCapEff:0000000000000000\nCapBnd:0000000000000000\n"
                "CapAmb:0000000000000000\nNoNewPrivs:1\n");
}

static void chroot_alone_is_left_where_it_is_wanted(void **state)
{
    struct inside inside =
        run(state, "grep -E '^Cap(Prm|Bnd|Amb)' /proc/self/status | tr -d '\\t '", true);
    assert_string_equal(inside.text, "CapPrm:0000000000040000\nCapBnd:0000000000000000\n"
                                     "CapAmb:0000000000040000\n");
}

static void the_network_is_empty(void **state)
{
    assert_says(state, "sed 1,2d /proc/self/net/dev | cut -d: -f1 | tr -d ' '", "lo\n");
}

static void processes_of_others_are_not_to_be_seen(void **state)
{
    assert_says(state, "test -e /proc/1 -o -e /proc/meminfo -o -e /proc/sys || echo none",
                "none\n");
}

static void limits_hold(void **state)
{
    assert_says(state, "ulimit -c; ulimit -H -c; ulimit -n; ulimit -H -n", "0\n0\n100\n100\n");
}

static void nobody_outside_sees_the_walls(void **state)
{
    (void)state;
    assert_int_equal(access("/tmp" CONFINE_EMPTY_FOLDER, F_OK), -1);
    assert_int_equal(access("/var", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(only_named_paths_are_there),
        scratch_test(what_is_to_be_read_cannot_be_written),
        scratch_test(what_is_to_be_written_cannot_be_executed),
        scratch_test(no_privilege_is_left),
        scratch_test(chroot_alone_is_left_where_it_is_wanted),
        scratch_test(the_network_is_empty),
        scratch_test(processes_of_others_are_not_to_be_seen),
        scratch_test(limits_hold),
        scratch_test(nobody_outside_sees_the_walls),
    };
    if (geteuid() != 0) {
        puts("1..0 # SKIP namespaces take root");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
