/*
 * What dirty tracking does not see, and how Drover makes up for it.
 *
 * Two kinds of change reach guest RAM unreported. Pages given back (balloon, free-page reporting)
 * are found by comparing the file's extents each round. Writes through another process's mapping (a
 * vhost-user back end) are not found at all: the check before a move refuses such devices by name.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "support.h"

#define PAGES 1024

static int start(void **state)
{
    static struct fixture fixture;

    fixture_start(&fixture, "ram", PAGES);
    guest_write(&fixture.guest, 0, PAGES, 1);
    fixture_scan(&fixture);
    *state = &fixture;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

static void assert_hole(const struct fixture *fixture, size_t first, size_t count)
{
    off_t begin = (off_t)(first * PLATFORM_PAGE);
    off_t end = (off_t)((first + count) * PLATFORM_PAGE);

    assert_int_equal(lseek(fixture->ram, 0, SEEK_HOLE), begin);
    if (count > 0)
        assert_int_equal(lseek(fixture->ram, begin, SEEK_DATA), end);
}

/* QEMU's balloon on shared memory: MADV_REMOVE in its own process. */
static void test_madv_remove_shows_in_extents_only(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(guest_advise(&fixture->guest, MADV_REMOVE, 100, 200), 0);
    assert_int_equal(fixture_scan(fixture), 0);
    assert_hole(fixture, 100, 200);
}

/* QEMU's ram_block_discard_range: fallocate on the file. */
static void test_punched_hole_shows_in_extents_only(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fallocate(fixture->ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               (off_t)(300 * PLATFORM_PAGE), (off_t)(50 * PLATFORM_PAGE)),
                     0);
    assert_int_equal(fixture_scan(fixture), 0);
    assert_hole(fixture, 300, 50);
}

/* Given back and used again between two scans: then it is reported like any write. */
static void test_page_written_after_its_removal_is_reported(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(guest_advise(&fixture->guest, MADV_REMOVE, 100, 200), 0);
    fixture_write(fixture, 150, 10, 2);
    fixture_assert_exact(fixture);
}

/*
 * The worst case: given back and then only read between two scans. The page is a zero page again,
 * and neither the scan nor the extents tell. Harmless, because a guest that gives a page back has
 * no claim on its contents; but it is why a byte comparison of two machines must leave such pages
 * out.
 */
static void test_page_read_after_its_removal_is_not_seen(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(guest_advise(&fixture->guest, MADV_REMOVE, 100, 1), 0);
    guest_touch(&fixture->guest, 100, 1, 1);
    assert_int_equal(fixture_scan(fixture), 0);
    assert_hole(fixture, PAGES, 0);
}

/*
 * Part of a huge page given back: the kernel splits it, and the extents show the hole to the page.
 */
static void test_hole_in_a_huge_page_shows_in_extents(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture, "huge/ram", PAGES);
    guest_write(&fixture.guest, 0, PAGES, 1);
    assert_int_equal(tracker_protect(&fixture.tracker), 0);
    fixture_scan(&fixture);
    assert_int_equal(guest_advise(&fixture.guest, MADV_REMOVE, 100, 200), 0);
    assert_int_equal(fixture_scan(&fixture), 0);
    assert_hole(&fixture, 100, 200);
    fixture_write(&fixture, 50, 100, 1);
    fixture_assert_none_missed(&fixture);
    fixture_stop(&fixture);
}

/* Why vhost-user devices are refused: what their process writes is nobody's dirty page. */
static void test_writes_through_another_mapping_are_not_seen(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *other =
        mmap(NULL, fixture->guest.size, PROT_READ | PROT_WRITE, MAP_SHARED, fixture->ram, 0);

    platform_must(other != MAP_FAILED, "mmap");
    for (size_t page = 0; page < PAGES; page++)
        other[page * PLATFORM_PAGE]++;
    assert_int_equal(fixture_scan(fixture), 0);
    munmap(other, fixture->guest.size);
}

/* Nor is pwrite on the file: on the destination the mover's own work makes nothing dirty. */
static void test_pwrite_to_the_file_is_not_seen(void **state)
{
    struct fixture *fixture = *state;
    char page[PLATFORM_PAGE] = {1};

    assert_int_equal(pwrite(fixture->ram, page, sizeof(page), 0), PLATFORM_PAGE);
    assert_int_equal(fixture_scan(fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_madv_remove_shows_in_extents_only, start, stop),
        cmocka_unit_test_setup_teardown(test_punched_hole_shows_in_extents_only, start, stop),
        cmocka_unit_test_setup_teardown(test_page_written_after_its_removal_is_reported, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_page_read_after_its_removal_is_not_seen, start, stop),
        cmocka_unit_test(test_hole_in_a_huge_page_shows_in_extents),
        cmocka_unit_test_setup_teardown(test_writes_through_another_mapping_are_not_seen, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_pwrite_to_the_file_is_not_seen, start, stop),
    };

    platform_private_mounts();
    tracker_require();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
