/*
 * No write is lost between scan and copy.
 *
 * The mover scans (which protects again) and then reads the pages, while vCPUs go on writing. A
 * write may fall before the scan, between scan and read, or after: each must be in the copy or in
 * the next scan. Many rounds against a writer at full speed, then the copy must equal the original.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "support.h"

#define PAGES 4096
#define WRITES_IN_BURST 500000
#define ROUNDS 100

static void copy_written(struct fixture *fixture, uint8_t *copy)
{
    for (size_t page = 0; page < PAGES; page++) {
        size_t at = page * PLATFORM_PAGE;

        if (fixture->written[page])
            platform_must(pread(fixture->ram, copy + at, PLATFORM_PAGE, (off_t)at) ==
                              (ssize_t)PLATFORM_PAGE,
                          "pread");
    }
}

static void assert_equal(struct fixture *fixture, const uint8_t *copy)
{
    size_t size = PAGES * PLATFORM_PAGE;
    uint8_t *original = mmap(NULL, size, PROT_READ, MAP_SHARED, fixture->ram, 0);

    platform_must(original != MAP_FAILED, "mmap");
    for (size_t page = 0; page < PAGES; page++)
        if (memcmp(original + page * PLATFORM_PAGE, copy + page * PLATFORM_PAGE, PLATFORM_PAGE))
            fail_msg("a write to page %zu was lost", page);
    munmap(original, size);
}

/*
 * Follows the guest through one burst of writes, and once more when it rests. Returns the rounds it
 * took.
 */
static size_t follow_burst(struct fixture *fixture, uint8_t *copy)
{
    size_t rounds = 0;
    bool hammering = true;

    guest_hammer(&fixture->guest, WRITES_IN_BURST);
    for (; hammering; rounds++) {
        hammering = guest_is_busy(&fixture->guest);
        fixture_scan(fixture);
        copy_written(fixture, copy);
    }
    return rounds;
}

/* As many bursts as it takes, on a busy machine too, for scans to meet writes often. */
static void assert_copy_follows(struct fixture *fixture)
{
    uint8_t *copy = calloc(PAGES, PLATFORM_PAGE);
    size_t rounds = 0;

    platform_must(copy != NULL, "calloc");
    while (rounds < ROUNDS) {
        rounds += follow_burst(fixture, copy);
        assert_equal(fixture, copy);
    }
    print_message("%zu rounds\n", rounds);
    free(copy);
}

static void follow(const char *ram, bool populated, bool protect)
{
    struct fixture fixture;

    fixture_start(&fixture, ram, PAGES);
    if (populated)
        guest_write(&fixture.guest, 0, PAGES, 1);
    if (protect)
        assert_int_equal(tracker_protect(&fixture.tracker), 0);
    assert_copy_follows(&fixture);
    fixture_stop(&fixture);
}

static void test_no_write_is_lost_on_small_pages(void **state)
{
    (void)state;
    follow("ram", true, false);
}

static void test_no_write_is_lost_on_small_holes(void **state)
{
    (void)state;
    follow("ram", false, false);
}

static void test_no_write_is_lost_on_protected_huge_pages(void **state)
{
    (void)state;
    follow("huge/ram", true, true);
}

static void test_no_write_is_lost_on_protected_huge_holes(void **state)
{
    (void)state;
    follow("huge/ram", false, true);
}

/* Coarse, because nothing split the mapping, but just as complete. */
static void test_no_write_is_lost_on_unprotected_huge_pages(void **state)
{
    (void)state;
    follow("huge/ram", true, false);
}

static void test_no_write_is_lost_on_unprotected_huge_holes(void **state)
{
    (void)state;
    follow("huge/ram", false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_write_is_lost_on_small_pages),
        cmocka_unit_test(test_no_write_is_lost_on_small_holes),
        cmocka_unit_test(test_no_write_is_lost_on_protected_huge_pages),
        cmocka_unit_test(test_no_write_is_lost_on_protected_huge_holes),
        cmocka_unit_test(test_no_write_is_lost_on_unprotected_huge_pages),
        cmocka_unit_test(test_no_write_is_lost_on_unprotected_huge_holes),
    };

    platform_private_mounts();
    tracker_require();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
