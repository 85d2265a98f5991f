/*
 * Post-copy: a virtual machine that runs before all its memory is there.
 *
 * A page that is missing stops the vCPU that wants it until the mover has written the page into the
 * RAM file (pwrite) and woken the waiter (UFFDIO_WAKE). The same registration also tracks writes,
 * so that a machine can be moved on while it still fills. Needs no UFFDIO_COPY, hence no write
 * access to QEMU's memory.
 */
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/kernel.h"
#include "fixture.h"
#include "support.h"

#define PAGES 1024
#define PATIENCE_MS 2000

/* As fixture_start(), but with missing pages reported too, and with `mode` more. */
static void start_with_missing(struct fixture *fixture, const char *ram, uint64_t mode)
{
    struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING |
                                            mode};

    fixture_start(fixture, ram, PAGES);
    range.range.start = fixture->guest.address;
    range.range.len = fixture->guest.size;
    platform_must(ioctl(fixture->tracker.userfaultfd, UFFDIO_REGISTER, &range) == 0,
                  "UFFDIO_REGISTER with MISSING and WP");
    fixture_scan(fixture);
}

static int start_small(void **state)
{
    static struct fixture fixture;

    start_with_missing(&fixture, "ram", 0);
    *state = &fixture;
    return 0;
}

static int start_huge(void **state)
{
    static struct fixture fixture;

    start_with_missing(&fixture, "huge/ram", UFFDIO_REGISTER_MODE_MINOR);
    *state = &fixture;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

/* Waits for the next missing page and returns its number, or -1 after a while. */
static long next_missing_page(const struct fixture *fixture)
{
    struct pollfd poll_fd = {.fd = fixture->tracker.userfaultfd, .events = POLLIN};
    struct uffd_msg message;

    if (poll(&poll_fd, 1, PATIENCE_MS) <= 0)
        return -1;
    if (read(poll_fd.fd, &message, sizeof(message)) != sizeof(message) ||
        message.event != UFFD_EVENT_PAGEFAULT)
        return -1;
    return (long)((message.arg.pagefault.address - fixture->guest.address) / PLATFORM_PAGE);
}

static int write_page(const struct fixture *fixture, long page)
{
    char content[PLATFORM_PAGE];

    memset(content, 'p', sizeof(content));
    return pwrite(fixture->ram, content, sizeof(content), page * (long)PLATFORM_PAGE) < 0 ? -1 : 0;
}

static struct uffdio_range range_of(const struct fixture *fixture, long page)
{
    return (struct uffdio_range){
        .start = fixture->guest.address + (uint64_t)page * PLATFORM_PAGE,
        .len = PLATFORM_PAGE,
    };
}

/* The waiter tries again, and finds the page in the file. */
static int fill_and_wake(const struct fixture *fixture, long page)
{
    struct uffdio_range range = range_of(fixture, page);

    if (write_page(fixture, page) < 0)
        return -1;
    return ioctl(fixture->tracker.userfaultfd, UFFDIO_WAKE, &range);
}

/* Maps the page, write-protected or not as its marks say, and wakes the waiter. */
static int fill_and_continue(const struct fixture *fixture, long page)
{
    struct uffdio_continue mapping = {.range = range_of(fixture, page)};

    if (write_page(fixture, page) < 0)
        return -1;
    return ioctl(fixture->tracker.userfaultfd, UFFDIO_CONTINUE, &mapping);
}

typedef int (*fill_page)(const struct fixture *fixture, long page);

/* Serves missing pages until killed. */
static pid_t start_filler(const struct fixture *fixture, fill_page fill)
{
    pid_t filler = platform_fork();

    platform_must(filler >= 0, "fork");
    if (filler > 0)
        return filler;
    for (;;) {
        long page = next_missing_page(fixture);

        if (page >= 0 && fill(fixture, page) < 0)
            _exit(1);
    }
}

static void assert_filled(const struct fixture *fixture, size_t page)
{
    char content[PLATFORM_PAGE];
    char wanted[PLATFORM_PAGE];

    memset(wanted, 'p', sizeof(wanted));
    assert_int_equal(pread(fixture->ram, content, sizeof(content), (off_t)(page * PLATFORM_PAGE)),
                     PLATFORM_PAGE);
    assert_memory_equal(content, wanted, sizeof(content));
}

/* The guest reads memory that is missing, and gets through. */
static void assert_reads_are_filled(struct fixture *fixture, fill_page fill)
{
    pid_t filler = start_filler(fixture, fill);

    guest_touch(&fixture->guest, 0, 32, 32);
    for (size_t page = 0; page < PAGES; page += 32)
        assert_filled(fixture, page);
    platform_reap(filler);
}

/* Its writes to pages that just came are tracked, so that it can be moved on. */
static void assert_writes_are_tracked(struct fixture *fixture, fill_page fill)
{
    pid_t filler = start_filler(fixture, fill);

    fixture_write(fixture, 0, 32, 32);
    fixture_assert_exact(fixture);
    fixture_write(fixture, 1, 16, 64);
    fixture_assert_exact(fixture);
    platform_reap(filler);
}

static void test_missing_pages_are_filled_by_pwrite_and_wake(void **state)
{
    assert_reads_are_filled(*state, fill_and_wake);
}

static void test_writes_to_filled_pages_are_tracked(void **state)
{
    assert_writes_are_tracked(*state, fill_and_wake);
}

/* A kernel copy into a missing page (a disk read) waits for it too, instead of failing. */
static void test_kernel_writes_wait_for_missing_pages(void **state)
{
    struct fixture *fixture = *state;
    pid_t filler = start_filler(fixture, fill_and_wake);

    assert_int_equal(guest_read(&fixture->guest, fixture->ram, 512 * PLATFORM_PAGE + 100, 4096),
                     4096);
    platform_reap(filler);
}

/*
 * The trap: on huge pages the first 4 KiB written into the file bring a whole 2 MiB page into
 * being. Its other pages are zeroes that nobody will ever miss: pwrite and UFFDIO_WAKE alone would
 * give the guest wrong bytes.
 */
static void test_wake_alone_hands_out_zeroes_on_huge_pages(void **state)
{
    struct fixture fixture;
    char page[PLATFORM_PAGE];
    const char zeroes[PLATFORM_PAGE] = {0};
    pid_t filler;

    (void)state;
    start_with_missing(&fixture, "huge/ram", 0);
    filler = start_filler(&fixture, fill_and_wake);
    guest_touch(&fixture.guest, 0, 2, 1);
    assert_filled(&fixture, 0);
    assert_int_equal(pread(fixture.ram, page, sizeof(page), PLATFORM_PAGE), PLATFORM_PAGE);
    assert_memory_equal(page, zeroes, sizeof(page));
    platform_reap(filler);
    fixture_stop(&fixture);
}

/*
 * The way out: report pages that exist but are not mapped as well (MINOR), and map each with
 * UFFDIO_CONTINUE when it is right.
 */
static void test_minor_faults_and_continue_fill_huge_pages(void **state)
{
    assert_reads_are_filled(*state, fill_and_continue);
}

static void test_writes_to_continued_huge_pages_are_tracked(void **state)
{
    assert_writes_are_tracked(*state, fill_and_continue);
}

#define SMALL(test) cmocka_unit_test_setup_teardown(test, start_small, stop)
#define HUGE(test) cmocka_unit_test_setup_teardown(test, start_huge, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SMALL(test_missing_pages_are_filled_by_pwrite_and_wake),
        SMALL(test_writes_to_filled_pages_are_tracked),
        SMALL(test_kernel_writes_wait_for_missing_pages),
        cmocka_unit_test(test_wake_alone_hands_out_zeroes_on_huge_pages),
        HUGE(test_minor_faults_and_continue_fill_huge_pages),
        HUGE(test_writes_to_continued_huge_pages_are_tracked),
    };

    platform_private_mounts();
    tracker_require();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
