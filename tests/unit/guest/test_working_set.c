/* A working set counts each fault in its pages once, and each kind of it. */
#include "../test.h"

#include "working_set.h"

#include <errno.h>

enum { PAGES = 16 };

static int set_up(void **state)
{
    static struct working_set set;

    *state = &set;
    return working_set_init(&set, PAGES * PAGE_BYTES, 99, PAGE_FILL_RANDOM);
}

static int tear_down(void **state)
{
    working_set_done(*state);
    return 0;
}

static unsigned char *page_at(struct working_set *set, uint64_t index)
{
    return set->pages + index * PAGE_BYTES;
}

static void a_fresh_set_is_right(void **state)
{
    struct working_set *set = *state;

    working_set_verify_all(set);
    assert_int_equal(set->pages_verified, PAGES);
    assert_int_equal(set->wrong_pages, 0);
}

static void writes_keep_it_right_and_are_counted(void **state)
{
    struct working_set *set = *state;

    for (uint64_t i = 0; i < 100; i++)
        working_set_write(set, i * 7 % PAGES);
    working_set_verify_all(set);
    assert_int_equal(set->pages_written, 100);
    assert_int_equal(set->pages_verified, 100 + PAGES);
    assert_int_equal(set->wrong_pages, 0);
}

static void a_corrupt_byte_is_counted_once(void **state)
{
    struct working_set *set = *state;

    page_at(set, 3)[1000] ^= 1;
    working_set_verify_all(set);
    working_set_verify_all(set);
    assert_int_equal(set->wrong_pages, 1);
    assert_int_equal(set->wrong_bytes, 1);
}

static void a_replayed_page_is_stale(void **state)
{
    struct working_set *set = *state;
    unsigned char old[PAGE_BYTES];

    memcpy(old, page_at(set, 5), PAGE_BYTES);
    working_set_write(set, 5);
    memcpy(page_at(set, 5), old, PAGE_BYTES);
    assert_int_equal(working_set_verify(set, 5).verdict, PAGE_STALE);
    assert_int_equal(set->wrong_pages, 1);
}

static void a_half_written_page_is_torn(void **state)
{
    struct working_set *set = *state;
    unsigned char old[PAGE_BYTES];

    working_set_write(set, 6);
    memcpy(old, page_at(set, 6), PAGE_BYTES);
    working_set_write(set, 6);
    memcpy(page_at(set, 6) + 2048, old + 2048, 2048);
    assert_int_equal(working_set_verify(set, 6).verdict, PAGE_TORN);
    assert_int_equal(set->wrong_pages, 1);
}

static void a_write_notices_what_it_would_cover(void **state)
{
    struct working_set *set = *state;

    page_at(set, 9)[0] ^= 1;
    working_set_write(set, 9);
    assert_int_equal(set->wrong_pages, 1);
    working_set_verify_all(set);
    assert_int_equal(set->wrong_pages, 1);
}

/* Page and table entry both replayed: they agree with each other, and with nothing else. */
static void a_stale_page_with_its_stale_table_entry_is_noticed(void **state)
{
    struct working_set *set = *state;
    unsigned char old[PAGE_BYTES];

    memcpy(old, page_at(set, 2), PAGE_BYTES);
    working_set_write(set, 2);
    memcpy(page_at(set, 2), old, PAGE_BYTES);
    set->generations[2]--;
    working_set_verify_all(set);
    assert_int_equal(set->wrong_pages, 1);
}

static void a_set_without_pages_is_refused(void **state)
{
    struct working_set set;

    (void)state;
    assert_int_equal(working_set_init(&set, PAGE_BYTES - 1, 1, PAGE_FILL_ZERO), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fresh_set_is_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_keep_it_right_and_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_corrupt_byte_is_counted_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_replayed_page_is_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_half_written_page_is_torn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_notices_what_it_would_cover, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stale_page_with_its_stale_table_entry_is_noticed, set_up,
                                        tear_down),
        cmocka_unit_test(a_set_without_pages_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
