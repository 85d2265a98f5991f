/*
 * The dirty tracker's ground: another process learns from the kernel which pages a process wrote.
 *
 * Drover's mover finds out what a running QEMU changed with a userfaultfd that was made inside QEMU
 * (a userfaultfd belongs to the memory of the process that made it), taken over with pidfd_getfd,
 * and with PAGEMAP_SCAN on QEMU's pagemap. QEMU takes no part in it.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "base/kernel.h"
#include "fixture.h"
#include "support.h"

#define PAGES 4096

static int start(void **state)
{
    static struct fixture fixture;

    fixture_start(&fixture, "ram", PAGES);
    *state = &fixture;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

/* Before the first scan every page counts as written: the first round of a move sends all. */
static void test_first_scan_reports_every_page(void **state)
{
    struct fixture *fixture = *state;

    fixture_write(fixture, 0, 100, 1);
    assert_int_equal(fixture_scan(fixture), PAGES);
}

/*
 * A scan reports the pages written since the last one, no other, and arms them again in the same
 * call.
 */
static void test_scan_reports_exactly_the_pages_written(void **state)
{
    struct fixture *fixture = *state;

    fixture_scan(fixture);
    fixture_assert_exact(fixture);
    for (size_t round = 1; round <= 5; round++) {
        fixture_write(fixture, round, PAGES / 64, 37);
        fixture_write(fixture, PAGES - 10 * round, 10, 1);
        fixture_assert_exact(fixture);
    }
}

/*
 * A scan whose answer does not fit stops, says where (walk_end), and goes on from there without a
 * loss.
 */
static void test_scan_goes_on_where_its_answer_was_full(void **state)
{
    struct fixture *fixture = *state;

    fixture_scan(fixture);
    for (int round = 0; round < 3; round++) {
        fixture_write(fixture, 0, PAGES / 2, 2);
        fixture_assert_exact(fixture);
    }
}

/*
 * WP_UNPOPULATED: a page that did not exist at the scan is reported when it is written for the
 * first time.
 */
static void test_first_write_to_a_hole_is_reported(void **state)
{
    struct fixture *fixture = *state;

    guest_write(&fixture->guest, 0, PAGES / 2, 1);
    fixture_scan(fixture);
    fixture_write(fixture, PAGES / 2 + 7, 20, 13);
    fixture_assert_exact(fixture);
}

/* A guest that only reads must not make pages dirty, neither those that exist nor holes. */
static void test_reading_makes_nothing_dirty(void **state)
{
    struct fixture *fixture = *state;

    guest_write(&fixture->guest, 0, PAGES / 2, 1);
    fixture_scan(fixture);
    guest_touch(&fixture->guest, 0, PAGES, 1);
    assert_int_equal(fixture_scan(fixture), 0);
}

/*
 * What two processes may agree on: the first does the handshake, the second gets EINVAL and goes
 * on.
 */
static void test_userfaultfd_handshake_succeeds_once(void **state)
{
    struct fixture *fixture = *state;
    struct uffdio_api api = {.api = UFFD_API, .features = TRACKER_FEATURES};

    assert_int_equal(ioctl(fixture->tracker.userfaultfd, UFFDIO_API, &api), -1);
    assert_int_equal(errno, EINVAL);
    guest_write(&fixture->guest, 3, 1, 1);
    assert_true(fixture_scan(fixture) > 0);
}

/*
 * A move that is cancelled leaves no trace: unregistering ends the tracking, and a later move can
 * register again on the same userfaultfd. Everything counts as written then.
 */
static void test_unregistered_range_can_be_tracked_again(void **state)
{
    struct fixture *fixture = *state;
    struct uffdio_range range = {.start = fixture->guest.address, .len = fixture->guest.size};
    struct uffdio_register again = {.range = range, .mode = UFFDIO_REGISTER_MODE_WP};

    fixture_scan(fixture);
    assert_int_equal(ioctl(fixture->tracker.userfaultfd, UFFDIO_UNREGISTER, &range), 0);
    assert_int_equal(tracker_scan(&fixture->tracker, NULL), -EPERM);
    guest_write(&fixture->guest, 5, 10, 1);
    assert_int_equal(ioctl(fixture->tracker.userfaultfd, UFFDIO_REGISTER, &again), 0);
    assert_int_equal(fixture_scan(fixture), PAGES);
    fixture_write(fixture, 1, 9, 3);
    fixture_assert_exact(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_scan_reports_every_page, start, stop),
        cmocka_unit_test_setup_teardown(test_scan_reports_exactly_the_pages_written, start, stop),
        cmocka_unit_test_setup_teardown(test_scan_goes_on_where_its_answer_was_full, start, stop),
        cmocka_unit_test_setup_teardown(test_first_write_to_a_hole_is_reported, start, stop),
        cmocka_unit_test_setup_teardown(test_reading_makes_nothing_dirty, start, stop),
        cmocka_unit_test_setup_teardown(test_userfaultfd_handshake_succeeds_once, start, stop),
        cmocka_unit_test_setup_teardown(test_unregistered_range_can_be_tracked_again, start, stop),
    };

    platform_private_mounts();
    tracker_require();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
