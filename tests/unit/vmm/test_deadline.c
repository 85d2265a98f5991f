/*
 * A real QEMU, unprivileged and sandboxed, and its deadline: it ends there whatever state it is in,
 * lives while the deadline is moved on, and does not start when it could not be ended.
 */
#include "test.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/deadline.h"
#include "bench.h"

#define SECOND NANOSECONDS_PER_SECOND
#define AHEAD_NS (3 * SECOND) /* enough for a QEMU to start in, on a busy machine */
#define LATE_NS (20 * SECOND)

/* A machine with a deadline page, of which the test is the guard. */
struct guarded {
    struct bench *bench;
    struct deadline_page *page;
    int fd;
};

static int set_up(void **state)
{
    struct guarded *guarded = calloc(1, sizeof(*guarded));
    char path[64];
    bench_set_up((void **)&guarded->bench);
    snprintf(path, sizeof(path), "%s/page", guarded->bench->folder);
    assert_int_equal(deadline_create(path, &guarded->page, NULL), 0);
    guarded->fd = deadline_open(path, NULL);
    assert_true(guarded->fd >= 0);
    guarded->bench->machine.deadline_fd = guarded->fd;
    *state = guarded;
    return 0;
}

static int tear_down(void **state)
{
    struct guarded *guarded = *state;
    deadline_unmap(guarded->page);
    close(guarded->fd);
    bench_tear_down((void **)&guarded->bench);
    free(guarded);
    return 0;
}

/* Moves the deadline, and returns it. */
static uint64_t extend(const struct guarded *guarded, uint64_t ahead_ns)
{
    uint64_t now = clock_boottime_ns();
    deadline_extend(guarded->page, now, now + ahead_ns);
    guarded->bench->machine.deadline_lapses = deadline_page_lapses(guarded->page);
    return now + ahead_ns;
}

static struct process_identity start(const struct guarded *guarded)
{
    struct process_identity process;
    struct error err = ERROR_NONE;
    if (qemu_start(&guarded->bench->machine, &process, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return process;
}

static void assert_ends_at(const struct process_identity *process, uint64_t deadline)
{
    int status = 0;
    assert_int_equal(process_wait(process, LATE_NS, &status), 1);
    assert_true(clock_boottime_ns() >= deadline);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void it_ends_at_its_deadline(void **state)
{
    struct guarded *guarded = *state;
    uint64_t deadline = extend(guarded, AHEAD_NS);
    struct process_identity process = start(guarded);
    bench_assert_status(guarded->bench, "running");
    assert_ends_at(&process, deadline);
}

static void it_lives_while_the_deadline_moves_on(void **state)
{
    struct guarded *guarded = *state;
    uint64_t deadline = extend(guarded, AHEAD_NS);
    uint64_t end = deadline + SECOND / 2;
    struct process_identity process = start(guarded);
    while (clock_boottime_ns() < end) {
        deadline = extend(guarded, AHEAD_NS);
        clock_sleep_ns(SECOND / 4);
    }
    assert_true(process_is_alive(&process));
    bench_assert_status(guarded->bench, "running");
    assert_ends_at(&process, deadline);
}

/* Stopped, it ends all the same; that the deadline was moved on came too late for it, for it cannot
 * know that nobody else runs the machine now. */
static void it_ends_while_it_is_stopped(void **state)
{
    struct guarded *guarded = *state;
    uint64_t deadline = extend(guarded, AHEAD_NS);
    struct process_identity process = start(guarded);
    kill(process.pid, SIGSTOP);
    extend(guarded, 10 * AHEAD_NS);
    assert_ends_at(&process, deadline);
}

static void a_shadow_has_a_deadline_too(void **state)
{
    struct guarded *guarded = *state;
    uint64_t deadline = extend(guarded, AHEAD_NS);
    guarded->bench->machine.incoming = true;
    struct process_identity process = start(guarded);
    bench_assert_status(guarded->bench, "inmigrate");
    assert_ends_at(&process, deadline);
}

/* ---- it does not start ---- */

static void assert_refused(const struct guarded *guarded, const char *reason)
{
    struct process_identity process = {0};
    struct error err = ERROR_NONE;
    assert_true(qemu_start(&guarded->bench->machine, &process, &err) < 0);
    if (!strstr(err.message, reason)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, reason);
    }
    assert_int_equal(process.pid, 0);
    assert_int_equal(access(guarded->bench->ram, F_OK), -1);
}

static void not_after_its_deadline(void **state)
{
    assert_refused(*state, "the deadline has passed");
}

/* The host was frozen after the lease was taken; its guard was quicker to come back. */
static void not_after_a_lapse(void **state)
{
    struct guarded *guarded = *state;
    extend(guarded, 1);
    uint64_t before = guarded->bench->machine.deadline_lapses;
    extend(guarded, AHEAD_NS);
    guarded->bench->machine.deadline_lapses = before;
    assert_refused(guarded, "passed after this machine's lease was taken");
}

static void not_with_a_page_that_is_none(void **state)
{
    struct guarded *guarded = *state;
    extend(guarded, AHEAD_NS);
    atomic_store(&guarded->page->magic, 1);
    assert_refused(guarded, "another version");
}

/* With another preload library, or none, nobody arms the deadline; QEMU itself refuses. */
static void not_without_the_library(void **state)
{
    struct guarded *guarded = *state;
    CLEANUP_FREE char *library = strdup(getenv("DROVER_PRELOAD"));
    extend(guarded, AHEAD_NS);
    setenv("DROVER_PRELOAD", "/dev/null", 1);
    assert_refused(guarded, "-add-fd");
    setenv("DROVER_PRELOAD", "/nonexistent", 1);
    assert_refused(guarded, "libdrover-preload.so");
    setenv("DROVER_PRELOAD", library, 1);
}

int main(void)
{
#define GUARDED(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        GUARDED(it_ends_at_its_deadline),      GUARDED(it_lives_while_the_deadline_moves_on),
        GUARDED(it_ends_while_it_is_stopped),  GUARDED(a_shadow_has_a_deadline_too),
        GUARDED(not_after_its_deadline),       GUARDED(not_after_a_lapse),
        GUARDED(not_with_a_page_that_is_none), GUARDED(not_without_the_library),
    };
    if (geteuid() != 0) {
        puts("# skipped: giving files to QEMU's user wants root");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
