/* Starting a real QEMU, unprivileged and sandboxed, and what is left when it cannot start. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/kernel.h"
#include "bench.h"
#include "vmm/qemu/capabilities.h"
#include "vmm/qemu/machine.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/userfaultfd.h"

static void assert_unprivileged(pid_t pid)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_uid, BENCH_USER);
}

static void a_machine_runs_unprivileged_and_can_be_tracked(void **state)
{
    struct bench *bench = *state;
    struct process_identity process;
    struct error err = ERROR_NONE;
    uint64_t address = 0;
    if (qemu_start(&bench->machine, &process, &err) < 0) {
        fail_msg("%s", err.message);
    }
    bench_assert_status(bench, "running");
    assert_unprivileged(process.pid);
    assert_int_equal(qemu_memory_address(process.pid, bench->ram, &address, &err), 0);
    assert_int_equal(address % 4096, 0);
    if (access("/dev/userfaultfd", F_OK) == 0) {
        CLEANUP_CLOSE int pidfd = process_open(&process, &err);
        CLEANUP_CLOSE int userfaultfd = (int)syscall(SYS_pidfd_getfd, pidfd, QEMU_USERFAULTFD, 0);
        assert_true(userfaultfd >= 0);
    }
    assert_int_equal(process_kill(&process, &err), 0);
}

/* How many userfaultfds a process holds. */
static unsigned count_userfaultfds(pid_t pid)
{
    char path[64], target[64];
    unsigned count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    CLEANUP_DIRECTORY DIR *folder = opendir(path);
    const struct dirent *entry;
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        count += strcmp(target, "anon_inode:[userfaultfd]") == 0;
    }
    return count;
}

/* The maker closes its copy right after it has answered. */
static void await_userfaultfds(pid_t pid, unsigned wanted)
{
    uint64_t deadline = clock_monotonic_ns() + 10 * NANOSECONDS_PER_SECOND;
    while (count_userfaultfds(pid) != wanted && clock_monotonic_ns() < deadline) {
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    }
    assert_int_equal(count_userfaultfds(pid), wanted);
}

/* As often as it is wanted, and none of them stays in QEMU: it would make writers wait for ever. */
static void userfaultfds_are_made_on_demand(void **state)
{
    struct bench *bench = *state;
    struct process_identity process;
    struct error err = ERROR_NONE;
    if (access("/dev/userfaultfd", F_OK) < 0) {
        print_message("# skipped: there is no /dev/userfaultfd\n");
        skip();
    }
    assert_int_equal(qemu_start(&bench->machine, &process, &err), 0);
    bench_assert_status(bench, "running");
    CLEANUP_CLOSE int pidfd = process_open(&process, &err);
    for (int i = 0; i < 20; i++) {
        struct uffdio_api api = {.api = UFFD_API};
        CLEANUP_CLOSE int userfaultfd = qemu_userfaultfd_new(pidfd, &err);
        if (userfaultfd < 0) {
            fail_msg("%s", err.message);
        }
        await_userfaultfds(process.pid, 1); /* the one for tracking */
        assert_int_equal(ioctl(userfaultfd, UFFDIO_API, &api), 0);
    }
    assert_int_equal(process_kill(&process, &err), 0);
}

/* QEMU complains of a command that was taken back: nobody is to take that for another's answer. */
static void assert_no_complaint(struct qmp *qmp)
{
    CLEANUP_JSON json_t *event = NULL;
    while (qmp_next_event(qmp, 200 * NANOSECONDS_PER_MILLISECOND, &event, NULL) > 0) {
        assert_null(json_object_get(event, "error"));
        json_decref(event);
        event = NULL;
    }
}

/* A command typed ahead runs with its last byte, and not at all when another one is sent instead.
 */
static void a_command_sent_ahead_waits_for_its_end(void **state)
{
    struct bench *bench = *state;
    struct process_identity process;
    char path[64];
    CLEANUP_QMP struct qmp qmp;
    assert_int_equal(qemu_start(&bench->machine, &process, NULL), 0);
    snprintf(path, sizeof(path), "%s/qmp.sock", bench->folder);
    assert_int_equal(qmp_connect(&qmp, path, QMP_TIMEOUT_NS, NULL), 0);
    assert_int_equal(qmp_send_ahead(&qmp, "stop", NULL, NULL), 0);
    bench_assert_status(bench, "running");
    assert_int_equal(qmp_execute(&qmp, "query-version", NULL, QMP_TIMEOUT_NS, NULL, NULL), 0);
    bench_assert_status(bench, "running");
    assert_int_equal(qmp_send_ahead(&qmp, "stop", NULL, NULL), 0);
    assert_int_equal(qmp_send(&qmp, "query-version", NULL, NULL), 0);
    assert_no_complaint(&qmp);
    bench_assert_status(bench, "running");
    assert_int_equal(qmp_send_ahead(&qmp, "cont", NULL, NULL), 0);
    assert_int_equal(qmp_send_ahead(&qmp, "stop", NULL, NULL), 0);
    assert_int_equal(qmp_send_ahead(&qmp, "stop", NULL, NULL), 0);
    assert_int_equal(qmp_send(&qmp, "stop", NULL, NULL), 0);
    assert_int_equal(qmp_execute(&qmp, "query-version", NULL, QMP_TIMEOUT_NS, NULL, NULL), 0);
    bench_assert_status(bench, "paused");
    assert_int_equal(process_kill(&process, NULL), 0);
}

static void a_shadow_waits(void **state)
{
    struct bench *bench = *state;
    struct process_identity process;
    struct error err = ERROR_NONE;
    bench->machine.incoming = true;
    assert_int_equal(qemu_start(&bench->machine, &process, &err), 0);
    bench_assert_status(bench, "inmigrate");
    assert_int_equal(process_kill(&process, &err), 0);
}

static void what_cannot_start_says_why_and_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    struct process_identity process = {0};
    struct error err = ERROR_NONE;
    bench->machine.machine_type = "pc-q35-no-such";
    assert_true(qemu_start(&bench->machine, &process, &err) < 0);
    assert_non_null(strstr(err.message, "unsupported machine type"));
    assert_int_equal(access(bench->ram, F_OK), -1);
    assert_int_equal(process.pid, 0);
}

static void a_ram_file_in_use_is_left_alone(void **state)
{
    struct bench *bench = *state;
    struct process_identity process;
    struct error err = ERROR_NONE;
    close(open(bench->ram, O_CREAT | O_WRONLY, 0600));
    assert_true(qemu_start(&bench->machine, &process, &err) < 0);
    assert_int_equal(err.code, EEXIST);
    assert_int_equal(access(bench->ram, F_OK), 0);
}

static void a_comma_in_a_path_is_refused(void **state)
{
    struct bench *bench = *state;
    struct process_identity process;
    struct error err = ERROR_NONE;
    bench->machine.run_folder = "/tmp/a,server=off";
    assert_int_equal(qemu_start(&bench->machine, &process, &err), -EINVAL);
    assert_int_equal(access(bench->ram, F_OK), -1);
}

static void capabilities_name_versions_machines_and_cpus(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *found = NULL;
    struct error err = ERROR_NONE;
    if (qemu_capabilities_probe(QEMU_ACCELERATOR_TCG, &found, &err) < 0) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(json_string_value(json_object_get(found, "accelerator")), "tcg");
    assert_non_null(strchr(json_string_value(json_object_get(found, "qemu_version")), '.'));
    assert_true(json_array_size(json_object_get(found, "machine_types")) > 5);
    json_t *models = json_object_get(found, "cpu_models");
    assert_int_equal(json_array_size(json_object_get(models, "qemu64")), 0);
    assert_true(json_array_size(json_object_get(models, "EPYC")) > 0); /* TCG lacks some */
    assert_null(json_object_get(models, "host"));
    bool native = strcmp(json_string_value(json_object_get(found, "engine")), "native") == 0;
    bool reason = *json_string_value(json_object_get(found, "engine_reason")) != '\0';
    assert_true(native == reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BENCH(a_machine_runs_unprivileged_and_can_be_tracked),
        ON_BENCH(userfaultfds_are_made_on_demand),
        ON_BENCH(a_command_sent_ahead_waits_for_its_end),
        ON_BENCH(a_shadow_waits),
        ON_BENCH(what_cannot_start_says_why_and_leaves_nothing),
        ON_BENCH(a_ram_file_in_use_is_left_alone),
        ON_BENCH(a_comma_in_a_path_is_refused),
        cmocka_unit_test(capabilities_name_versions_machines_and_cpus),
    };
    if (geteuid() != 0) {
        puts("# skipped: giving files to QEMU's user wants root");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
