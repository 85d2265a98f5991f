/*
 * Sparse RAM files: what reading a hole costs.
 *
 * Most machines have RAM that they never touched. It is a hole in the RAM file, occupies nothing,
 * and must neither be sent nor come to life because the mover looked at it: the mover walks the
 * file's extents, and reads with pread or sendfile.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support.h"

#define SIZE (4 * PLATFORM_HUGE_PAGE)

static const char *const names[] = {"ram", "huge/ram"};
static const size_t grain[] = {PLATFORM_PAGE, PLATFORM_HUGE_PAGE};

static void test_pread_of_a_hole_allocates_nothing(void **state)
{
    char page[PLATFORM_PAGE];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int ram = platform_file_new(names[i], SIZE);

        for (off_t at = 0; at < (off_t)SIZE; at += (off_t)PLATFORM_PAGE)
            assert_int_equal(pread(ram, page, sizeof(page), at), PLATFORM_PAGE);
        assert_int_equal(platform_file_allocated(ram), 0);
        close(ram);
    }
}

/* On huge pages one byte read through a mapping costs 2 MiB. */
static void test_reading_a_hole_through_a_shared_mapping_allocates(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int ram = platform_file_new(names[i], SIZE);
        volatile uint8_t *memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ram, 0);

        platform_must(memory != MAP_FAILED, "mmap");
        assert_int_equal(memory[0], 0);
        assert_int_equal(platform_file_allocated(ram), grain[i]);
        munmap((void *)memory, SIZE);
        close(ram);
    }
}

/* The map of what exists is in the file, whoever wrote it and whether or not anybody mapped it. */
static void test_extents_show_what_exists(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int ram = platform_file_new(names[i], SIZE);
        off_t at = (off_t)PLATFORM_HUGE_PAGE;

        assert_int_equal(lseek(ram, 0, SEEK_DATA), -1);
        assert_int_equal(pwrite(ram, "x", 1, at), 1);
        assert_int_equal(lseek(ram, 0, SEEK_DATA), at);
        assert_int_equal(lseek(ram, at, SEEK_HOLE), at + (off_t)grain[i]);
        close(ram);
    }
}

/*
 * fallocate'd pages read as zeroes: are they told apart from holes? SEEK_DATA says what the walk
 * would send.
 */
static void test_reserved_pages_occupy_and_read_as_zeroes(void **state)
{
    char page[PLATFORM_PAGE];
    const char zeroes[PLATFORM_PAGE] = {0};
    int ram = platform_file_new("ram", SIZE);
    off_t data;

    (void)state;
    assert_int_equal(fallocate(ram, 0, 0, (off_t)SIZE), 0);
    assert_int_equal(platform_file_allocated(ram), SIZE);
    assert_int_equal(pread(ram, page, sizeof(page), 0), PLATFORM_PAGE);
    assert_memory_equal(page, zeroes, sizeof(page));
    data = lseek(ram, 0, SEEK_DATA);
    print_message("SEEK_DATA shows reserved pages as %s\n", data == 0 ? "data" : "hole");
    assert_int_equal(pwrite(ram, "x", 1, 8192), 1);
    assert_true(lseek(ram, 0, SEEK_DATA) <= 8192);
    close(ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pread_of_a_hole_allocates_nothing),
        cmocka_unit_test(test_reading_a_hole_through_a_shared_mapping_allocates),
        cmocka_unit_test(test_extents_show_what_exists),
        cmocka_unit_test(test_reserved_pages_occupy_and_read_as_zeroes),
    };

    platform_private_mounts();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
