/*
 * Writers that wait: a second userfaultfd, in synchronous write-protect mode, takes over part of
 * the tracked memory, and who writes there sleeps until he is let go.
 *
 * What must never happen is that a guest waits for somebody who is gone. The kernel lets all
 * waiters go when the last descriptor is closed; so one process alone may hold one.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/kernel.h"
#include "fixture.h"
#include "support.h"

#define PAGES 2048
#define PACED_FIRST 512 /* of PACED_COUNT pages */
#define PACED_COUNT 1024
#define PATIENCE_MS 10000
#define PAUSE_MS 50 /* in which who does not wait would long be done */
#define CANNOT_DROP 100

struct pacing {
    struct fixture fixture;
    int userfaultfd;
};

static struct uffdio_range range_of(const struct pacing *pacing, size_t first, size_t count)
{
    return (struct uffdio_range){.start = pacing->fixture.guest.address + first * PLATFORM_PAGE,
                                 .len = count * PLATFORM_PAGE};
}

static int protect(const struct pacing *pacing, size_t first, size_t count, bool on)
{
    struct uffdio_writeprotect request = {.range = range_of(pacing, first, count),
                                          .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

    return ioctl(pacing->userfaultfd, UFFDIO_WRITEPROTECT, &request);
}

/* Hands the paced part over. 0, or -1 with errno. */
static int take_over(const struct pacing *pacing)
{
    struct uffdio_range range = range_of(pacing, PACED_FIRST, PACED_COUNT);
    struct uffdio_register registration = {.range = range, .mode = UFFDIO_REGISTER_MODE_WP};

    if (ioctl(pacing->fixture.tracker.userfaultfd, UFFDIO_UNREGISTER, &range) < 0 ||
        ioctl(pacing->userfaultfd, UFFDIO_REGISTER, &registration) < 0)
        return -1;
    return protect(pacing, PACED_FIRST, PACED_COUNT, true);
}

static int enable(int userfaultfd)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = TRACKER_FEATURES & ~UFFD_FEATURE_WP_ASYNC};

    return ioctl(userfaultfd, UFFDIO_API, &api);
}

static int start_on(void **state, const char *ram)
{
    static struct pacing pacing;
    struct guest *guest = &pacing.fixture.guest;

    fixture_start(&pacing.fixture, ram, PAGES);
    guest_write(guest, 0, PAGES, 1);
    pacing.userfaultfd = tracker_take_descriptor(guest->pid, guest->pacing);
    guest_close(guest, guest->pacing);
    platform_must(enable(pacing.userfaultfd) == 0, "UFFDIO_API");
    *state = &pacing;
    return 0;
}

static int start_small(void **state)
{
    return start_on(state, "ram");
}

static int start_huge(void **state)
{
    return start_on(state, "huge/ram");
}

static int stop(void **state)
{
    struct pacing *pacing = *state;

    if (pacing->userfaultfd >= 0)
        close(pacing->userfaultfd);
    fixture_stop(&pacing->fixture);
    return 0;
}

/* The page of the next fault, or -1 if there is none for a while. */
static long next_fault(const struct pacing *pacing, int patience_ms)
{
    struct pollfd poll_fd = {.fd = pacing->userfaultfd, .events = POLLIN};
    struct uffd_msg message;

    if (poll(&poll_fd, 1, patience_ms) <= 0 ||
        read(pacing->userfaultfd, &message, sizeof(message)) != sizeof(message) ||
        message.event != UFFD_EVENT_PAGEFAULT)
        return -1;
    return (long)((message.arg.pagefault.address - pacing->fixture.guest.address) / PLATFORM_PAGE);
}

/* Whether the guest gets done with what it is at. */
static bool gets_done(struct pacing *pacing, double patience_ms)
{
    double end = platform_now_ms() + patience_ms;

    while (guest_is_busy(&pacing->fixture.guest)) {
        if (platform_now_ms() > end)
            return false;
        usleep(1000);
    }
    return true;
}

/* The byte that guest_write() counts up in each page. */
static uint8_t content(const struct pacing *pacing, size_t page)
{
    uint8_t byte;

    platform_must(pread(pacing->fixture.ram, &byte, 1, (off_t)(page * PLATFORM_PAGE)) == 1,
                  "pread");
    return byte;
}

static void test_writer_waits_until_let_go(void **state)
{
    struct pacing *pacing = *state;

    platform_must(take_over(pacing) == 0, "changing hands");
    guest_begin_write(&pacing->fixture.guest, 700, 2, 1);
    for (long page = 700; page < 702; page++) {
        assert_int_equal(next_fault(pacing, PATIENCE_MS), page);
        assert_false(gets_done(pacing, PAUSE_MS));
        assert_int_equal(content(pacing, (size_t)page), 1);
        platform_must(protect(pacing, (size_t)page, 1, false) == 0, "UFFDIO_WRITEPROTECT");
    }
    assert_true(gets_done(pacing, PATIENCE_MS));
    assert_int_equal(content(pacing, 701), 2);
    guest_write(&pacing->fixture.guest, 700, 2, 1); /* until they are protected again */
    assert_int_equal(next_fault(pacing, 0), -1);
}

static void test_writers_elsewhere_do_not_wait_and_are_tracked(void **state)
{
    struct pacing *pacing = *state;
    struct tracker *tracker = &pacing->fixture.tracker, before = *tracker, after = *tracker;

    platform_must(take_over(pacing) == 0, "changing hands");
    before.size = PACED_FIRST * PLATFORM_PAGE;
    after.address += (PACED_FIRST + PACED_COUNT) * PLATFORM_PAGE;
    after.size = (PAGES - PACED_FIRST - PACED_COUNT) * PLATFORM_PAGE;
    platform_must(tracker_protect(&before) == 0 && tracker_protect(&after) == 0, "protect");
    guest_write(&pacing->fixture.guest, 3, 10, 5);
    guest_write(&pacing->fixture.guest, PACED_FIRST + PACED_COUNT, 20, 3);
    assert_int_equal(tracker_scan(&before, pacing->fixture.written), 10);
    assert_int_equal(tracker_scan(&after, pacing->fixture.written), 20);
    assert_int_equal(tracker_scan(tracker, NULL), -EPERM); /* it must go around */
}

static void test_writes_before_changing_hands_are_forgotten(void **state)
{
    struct pacing *pacing = *state;
    struct uffdio_range range = range_of(pacing, PACED_FIRST, PACED_COUNT);
    struct uffdio_register registration = {.range = range, .mode = UFFDIO_REGISTER_MODE_WP};

    platform_must(tracker_protect(&pacing->fixture.tracker) == 0, "protect");
    guest_write(&pacing->fixture.guest, 700, 10, 1);
    platform_must(take_over(pacing) == 0, "changing hands");
    platform_must(ioctl(pacing->userfaultfd, UFFDIO_UNREGISTER, &range) == 0, "UNREGISTER");
    platform_must(ioctl(pacing->fixture.tracker.userfaultfd, UFFDIO_REGISTER, &registration) == 0,
                  "and back");
    platform_must(tracker_protect(&pacing->fixture.tracker) == 0, "protect");
    assert_int_equal(fixture_scan(&pacing->fixture), 0);
}

/* Balloons and free-page reporting: the protection outlives the page. */
static void test_protection_outlives_pages_given_back(void **state)
{
    static const int advices[] = {MADV_REMOVE, MADV_DONTNEED};
    struct pacing *pacing = *state;
    struct guest *guest = &pacing->fixture.guest;

    platform_must(take_over(pacing) == 0, "changing hands");
    for (size_t i = 0; i < 2; i++) {
        size_t first = PACED_FIRST + 512 * i;

        assert_int_equal(guest_advise(guest, advices[i], first, 512), 0);
        guest_begin_write(guest, first + 7, 1, 1);
        assert_int_equal(next_fault(pacing, PATIENCE_MS), first + 7);
        platform_must(protect(pacing, first + 7, 1, false) == 0, "UFFDIO_WRITEPROTECT");
        assert_true(gets_done(pacing, PATIENCE_MS));
    }
}

/* QEMU's preadv() from a disk image into guest memory. */
static void test_kernel_waits_like_any_writer(void **state)
{
    struct pacing *pacing = *state;
    int ends[2];

    stop(state);
    platform_must(pipe(ends) == 0, "pipe");
    platform_must(write(ends[1], "12345678", 8) == 8, "write");
    start_small(state); /* inherits the pipe */
    platform_must(take_over(pacing) == 0, "changing hands");
    guest_begin_read(&pacing->fixture.guest, ends[0], 800 * PLATFORM_PAGE - 4, 8);
    for (long page = 799; page < 801; page++) {
        assert_int_equal(next_fault(pacing, PATIENCE_MS), page);
        assert_false(gets_done(pacing, PAUSE_MS));
        platform_must(protect(pacing, (size_t)page, 1, false) == 0, "UFFDIO_WRITEPROTECT");
    }
    assert_true(gets_done(pacing, PATIENCE_MS));
    assert_int_equal(content(pacing, 800), '5');
    close(ends[0]);
    close(ends[1]);
}

/* Unregistering alone wakes nobody. */
static void test_unregistering_and_waking_lets_go(void **state)
{
    struct pacing *pacing = *state;
    struct uffdio_range range = range_of(pacing, PACED_FIRST, PACED_COUNT);

    platform_must(take_over(pacing) == 0, "changing hands");
    guest_begin_write(&pacing->fixture.guest, 700, 1, 1);
    assert_int_equal(next_fault(pacing, PATIENCE_MS), 700);
    platform_must(ioctl(pacing->userfaultfd, UFFDIO_UNREGISTER, &range) == 0, "UNREGISTER");
    print_message("unregistered, and no wake: the writer %s\n",
                  gets_done(pacing, PAUSE_MS) ? "goes on" : "waits");
    platform_must(ioctl(pacing->userfaultfd, UFFDIO_WAKE, &range) == 0, "WAKE");
    assert_true(gets_done(pacing, PATIENCE_MS));
    assert_int_equal(content(pacing, 700), 2);
}

/* ---- what a death does ---- */

/* The pacing process: unprivileged, as drover-mover is; takes the memory over and answers the first
 * fault only. Says through `ready` that the writer waits for the second. */
static void pace_and_hang(const struct pacing *pacing, int ready)
{
    long page;

    if (platform_drop_privileges() < 0 || take_over(pacing) < 0 || write(ready, "p", 1) != 1)
        _exit(1);
    page = next_fault(pacing, PATIENCE_MS);
    if (page < 0 || protect(pacing, (size_t)page, 1, false) < 0 ||
        next_fault(pacing, PATIENCE_MS) != page + 1 || write(ready, "w", 1) != 1)
        _exit(2);
    pause();
}

static char next_word(int ready)
{
    struct pollfd poll_fd = {.fd = ready, .events = POLLIN};
    char word;

    return poll(&poll_fd, 1, PATIENCE_MS) > 0 && read(ready, &word, 1) == 1 ? word : 0;
}

/* Has a child pace the guest, and returns it when the guest waits for its answer. */
static pid_t pace_in_child(struct pacing *pacing)
{
    int ready[2];
    pid_t child;

    platform_must(pipe(ready) == 0, "pipe");
    child = platform_fork();
    platform_must(child >= 0, "fork");
    if (child == 0)
        pace_and_hang(pacing, ready[1]);
    assert_int_equal(next_word(ready[0]), 'p');
    guest_begin_write(&pacing->fixture.guest, 700, 100, 1);
    assert_int_equal(next_word(ready[0]), 'w');
    assert_false(gets_done(pacing, PAUSE_MS));
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void assert_all_written(struct pacing *pacing)
{
    assert_true(gets_done(pacing, PATIENCE_MS));
    for (size_t page = 700; page < 800; page++)
        assert_int_equal(content(pacing, page), 2);
}

static void test_death_of_the_only_holder_lets_go(void **state)
{
    struct pacing *pacing = *state;
    pid_t child = pace_in_child(pacing);

    close(pacing->userfaultfd);
    pacing->userfaultfd = -1;
    assert_false(gets_done(pacing, PAUSE_MS));
    platform_reap(child); /* SIGKILL */
    assert_all_written(pacing);
    guest_write(&pacing->fixture.guest, PACED_FIRST, PACED_COUNT, 1); /* nobody waits any more */
}

/* ... and afterwards the memory can be tracked and paced again. */
static void test_after_a_death_all_begins_anew(void **state)
{
    struct pacing *pacing = *state;
    struct uffdio_register all = {.range = range_of(pacing, 0, PAGES),
                                  .mode = UFFDIO_REGISTER_MODE_WP};

    test_death_of_the_only_holder_lets_go(state);
    platform_must(ioctl(pacing->fixture.tracker.userfaultfd, UFFDIO_REGISTER, &all) == 0,
                  "UFFDIO_REGISTER");
    platform_must(tracker_protect(&pacing->fixture.tracker) == 0, "protect");
    fixture_scan(&pacing->fixture);
    fixture_write(&pacing->fixture, PACED_FIRST - 10, 20, 1);
    fixture_assert_exact(&pacing->fixture);
}

/* Why QEMU may not keep a copy. */
static void test_another_holder_keeps_writers_waiting(void **state)
{
    struct pacing *pacing = *state;
    pid_t child = pace_in_child(pacing);

    platform_reap(child);
    assert_false(gets_done(pacing, PAUSE_MS));
    close(pacing->userfaultfd);
    pacing->userfaultfd = -1;
    assert_all_written(pacing);
}

#define ON_BOTH(test)                                       \
    {"small pages: " #test, test, start_small, stop, NULL}, \
    {                                                       \
        "huge pages: " #test, test, start_huge, stop, NULL  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_writer_waits_until_let_go),
        ON_BOTH(test_writers_elsewhere_do_not_wait_and_are_tracked),
        ON_BOTH(test_writes_before_changing_hands_are_forgotten),
        ON_BOTH(test_protection_outlives_pages_given_back),
        ON_BOTH(test_unregistering_and_waking_lets_go),
        ON_BOTH(test_death_of_the_only_holder_lets_go),
        ON_BOTH(test_after_a_death_all_begins_anew),
        ON_BOTH(test_another_holder_keeps_writers_waiting),
        cmocka_unit_test_setup_teardown(test_kernel_waits_like_any_writer, start_small, stop),
    };

    platform_private_mounts();
    tracker_require();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
