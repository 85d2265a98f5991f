/* A disk set, on a file, counts each fault in its blocks once; a second writer shows. */
#include "../test.h"

#include "disk_set.h"

#include <errno.h>
#include <unistd.h>

enum { BLOCKS = 150 };

static char path[] = "/tmp/drover-disk-set-XXXXXX";

static int set_up(void **state)
{
    static struct disk_set set;

    strcpy(path + strlen(path) - 6, "XXXXXX");
    int descriptor = mkstemp(path);
    if (descriptor < 0)
        return -errno;
    close(descriptor);
    *state = &set;
    return disk_set_init(&set, path, BLOCKS * PAGE_BYTES, 99, PAGE_FILL_RANDOM);
}

static int tear_down(void **state)
{
    disk_set_done(*state);
    return unlink(path);
}

/* As somebody else would, past the set's descriptor. */
static void overwrite(struct disk_set *set, uint64_t index, const void *block)
{
    memcpy(set->buffer, block, PAGE_BYTES);
    assert_int_equal(pwrite(set->descriptor, set->buffer, PAGE_BYTES, (off_t)index * PAGE_BYTES),
                     PAGE_BYTES);
}

static void read_block(struct disk_set *set, uint64_t index, void *block)
{
    assert_int_equal(pread(set->descriptor, set->buffer, PAGE_BYTES, (off_t)index * PAGE_BYTES),
                     PAGE_BYTES);
    memcpy(block, set->buffer, PAGE_BYTES);
}

static void writes_keep_it_right(void **state)
{
    struct disk_set *set = *state;

    for (uint64_t i = 0; i < 300; i++)
        disk_set_write(set, i * 11 % BLOCKS);
    disk_set_sync(set);
    disk_set_verify_all(set);
    assert_int_equal(set->errors, 0);
    assert_int_equal(set->wrong_blocks, 0);
    assert_true(set->blocks_verified >= BLOCKS + 300);
}

static void a_corrupt_byte_is_counted_once(void **state)
{
    struct disk_set *set = *state;
    unsigned char block[PAGE_BYTES];

    for (uint64_t index = 70; index < 73; index++) {
        read_block(set, index, block);
        block[17] ^= 1;
        overwrite(set, index, block);
    }
    disk_set_verify_all(set);
    disk_set_verify_all(set);
    assert_int_equal(set->wrong_blocks, 3);
    assert_int_equal(set->wrong_bytes, 3);
}

static void a_lost_write_is_stale(void **state)
{
    struct disk_set *set = *state;
    unsigned char block[PAGE_BYTES];

    read_block(set, 8, block);
    disk_set_write(set, 8);
    overwrite(set, 8, block);
    assert_int_equal(disk_set_verify(set, 8).verdict, PAGE_STALE);
}

static void half_a_write_is_torn(void **state)
{
    struct disk_set *set = *state;
    unsigned char old[PAGE_BYTES], block[PAGE_BYTES];

    disk_set_write(set, 8);
    read_block(set, 8, old);
    disk_set_write(set, 8);
    read_block(set, 8, block);
    memcpy(block, old, 512);
    overwrite(set, 8, block);
    assert_int_equal(disk_set_verify(set, 8).verdict, PAGE_TORN);
}

/* Two copies of one guest: same boot, same state, same next step. */
static void a_second_copy_shows_in_the_witness(void **state)
{
    struct disk_set *set = *state;
    struct disk_set copy = *state ? *set : (struct disk_set){0};

    copy.buffer = aligned_alloc(PAGE_BYTES, 64 * PAGE_BYTES);
    copy.witness = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    memcpy(copy.witness, set->witness, PAGE_BYTES);
    disk_set_sync(set);
    copy.counter = set->counter - 1;
    disk_set_sync(&copy);
    assert_int_equal(copy.foreign_witnesses, 1);
    disk_set_sync(set);
    assert_int_equal(set->foreign_witnesses, 1);
    assert_int_equal(set->wrong_blocks, 1);
    free(copy.buffer);
    free(copy.witness);
}

static void a_missing_disk_is_refused(void **state)
{
    struct disk_set set;

    (void)state;
    assert_int_equal(disk_set_init(&set, "/nonexistent/disk", 1 << 20, 1, PAGE_FILL_ZERO), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_keep_it_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_corrupt_byte_is_counted_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_write_is_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_write_is_torn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_copy_shows_in_the_witness, set_up, tear_down),
        cmocka_unit_test(a_missing_disk_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
