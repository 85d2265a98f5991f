/*
 * Tracking to 4 KiB on RAM made of huge pages.
 *
 * Drover mounts its tmpfs with huge=always (copying is several times faster), yet wants to send 4
 * KiB for a changed byte, not 2 MiB. One UFFDIO_WRITEPROTECT over guest RAM before the first scan
 * splits the mapping (not the pages). Above all no write may be missed, whatever the size of page
 * the kernel chose at that moment.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "support.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGES_IN_HUGE (PLATFORM_HUGE_PAGE / PLATFORM_PAGE)
#define HUGE_PAGES 16
#define PAGES (HUGE_PAGES * PAGES_IN_HUGE)

static int start(void **state)
{
    static struct fixture fixture;

    fixture_start(&fixture, "huge/ram", PAGES);
    *state = &fixture;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

/*
 * Fills the file without the guest's mapping taking part, as the mover's pwrite does on the
 * destination.
 */
static void fill_file(struct fixture *fixture, size_t bytes)
{
    static char block[PLATFORM_HUGE_PAGE];

    memset(block, 'd', sizeof(block));
    for (size_t at = 0; at < bytes; at += sizeof(block))
        platform_must(pwrite(fixture->ram, block, sizeof(block), (off_t)at) == sizeof(block),
                      "pwrite");
}

static void protect(struct fixture *fixture)
{
    assert_int_equal(tracker_protect(&fixture->tracker), 0);
    fixture_scan(fixture);
}

/* Several rounds of scattered writes, each reported to the page. */
static void assert_rounds_exact(struct fixture *fixture)
{
    fixture_assert_exact(fixture);
    for (size_t round = 1; round <= 6; round++) {
        fixture_write(fixture, 3 * round, PAGES / 256, 251);
        fixture_assert_exact(fixture);
    }
}

/* The mount option gives 2 MiB pages: one byte occupies them whole. */
static void test_mount_option_gives_huge_pages(void **state)
{
    struct fixture *fixture = *state;

    guest_write(&fixture->guest, 0, 1, 1);
    assert_int_equal(platform_file_allocated(fixture->ram), PLATFORM_HUGE_PAGE);
}

/* Why UFFDIO_WRITEPROTECT is needed: without it one byte written makes 2 MiB dirty. */
static void test_scan_alone_is_coarse_on_huge_pages(void **state)
{
    struct fixture *fixture = *state;

    guest_write(&fixture->guest, 0, PAGES, 1);
    fixture_scan(fixture);
    fixture_write(fixture, 5, 1, 1);
    assert_int_equal(fixture_assert_none_missed(fixture), PAGES_IN_HUGE);
}

static void test_writeprotect_makes_mapped_huge_pages_exact(void **state)
{
    struct fixture *fixture = *state;

    guest_write(&fixture->guest, 0, PAGES, 1);
    protect(fixture);
    assert_rounds_exact(fixture);
    assert_int_equal(platform_file_allocated(fixture->ram), PAGES * PLATFORM_PAGE);
}

/* A machine that has just arrived: all its RAM is in the file, hardly any of it mapped yet. */
static void test_writeprotect_makes_unmapped_huge_pages_exact(void **state)
{
    struct fixture *fixture = *state;

    fill_file(fixture, PAGES * PLATFORM_PAGE);
    guest_touch(&fixture->guest, 0, 1, 1);
    protect(fixture);
    assert_rounds_exact(fixture);
}

/* A young machine: RAM that nobody touched, a hole in file and page table alike. */
static void test_writes_to_huge_holes_are_reported(void **state)
{
    struct fixture *fixture = *state;

    protect(fixture);
    assert_rounds_exact(fixture);
}

/*
 * The same without UFFDIO_WRITEPROTECT: the case of the upstream fix of July 2026 ("missed write in
 * huge holes"). A move that could not protect at once must still not miss a write.
 */
static void test_writes_to_huge_holes_are_reported_by_scan_alone(void **state)
{
    struct fixture *fixture = *state;
    size_t reported;

    fixture_scan(fixture);
    fixture_write(fixture, PAGES_IN_HUGE + 5, 1, 1);
    reported = fixture_assert_none_missed(fixture);
    print_message("one page written into a hole: %zu reported\n", reported);
    fixture_write(fixture, PAGES_IN_HUGE + 6, 1, 1);
    reported = fixture_assert_none_missed(fixture);
    print_message("another beside it: %zu reported\n", reported);
}

/* A hole in the page table filled behind the mapping's back, then written through it. */
static void test_writes_to_pages_filled_after_the_scan_are_reported(void **state)
{
    struct fixture *fixture = *state;

    protect(fixture);
    fill_file(fixture, PAGES * PLATFORM_PAGE);
    fixture_write(fixture, 17, PAGES / 512, 509);
    fixture_assert_exact(fixture);
}

/* khugepaged, or a madvise, may gather what was split. Whatever it does, no write may be lost. */
static void test_collapsing_pages_loses_no_write(void **state)
{
    struct fixture *fixture = *state;
    long result;

    guest_write(&fixture->guest, 0, PAGES, 1);
    protect(fixture);
    fixture_write(fixture, 9, 40, 100);
    result = guest_advise(&fixture->guest, MADV_COLLAPSE, 0, PAGES);
    fixture_write(fixture, 50, 40, 100);
    print_message("collapse answered %ld, %zu pages reported for 80 written\n", result,
                  fixture_assert_none_missed(fixture));
    fixture_write(fixture, 70, 40, 100);
    print_message("next round: %zu pages reported for 40 written\n",
                  fixture_assert_none_missed(fixture));
}

/* Freed by the balloon, then used again: the huge page is gone, the marks must not be. */
static void test_writes_after_a_huge_page_was_freed_are_reported(void **state)
{
    struct fixture *fixture = *state;
    size_t reported;

    guest_write(&fixture->guest, 0, PAGES, 1);
    protect(fixture);
    assert_int_equal(guest_advise(&fixture->guest, MADV_REMOVE, 0, 2 * PAGES_IN_HUGE), 0);
    fixture_write(fixture, 100, 3, 200);
    reported = fixture_assert_none_missed(fixture);
    print_message("3 pages written after MADV_REMOVE: %zu reported\n", reported);
    fixture_write(fixture, 101, 3, 200);
    reported = fixture_assert_none_missed(fixture);
    print_message("3 more: %zu reported\n", reported);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mount_option_gives_huge_pages, start, stop),
        cmocka_unit_test_setup_teardown(test_scan_alone_is_coarse_on_huge_pages, start, stop),
        cmocka_unit_test_setup_teardown(test_writeprotect_makes_mapped_huge_pages_exact, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_writeprotect_makes_unmapped_huge_pages_exact, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_writes_to_huge_holes_are_reported, start, stop),
        cmocka_unit_test_setup_teardown(test_writes_to_huge_holes_are_reported_by_scan_alone, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_writes_to_pages_filled_after_the_scan_are_reported,
                                        start, stop),
        cmocka_unit_test_setup_teardown(test_collapsing_pages_loses_no_write, start, stop),
        cmocka_unit_test_setup_teardown(test_writes_after_a_huge_page_was_freed_are_reported, start,
                                        stop),
    };

    platform_private_mounts();
    tracker_require();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
