/* Every way in which a page can be wrong is told from a right one, byte by byte, for every fill. */
#include "../test.h"

#include "page_stamp.h"

static const enum page_fill fills[] = {PAGE_FILL_RANDOM, PAGE_FILL_TEXT, PAGE_FILL_ZERO};
static const struct page_stamp stamp = {.owner = 7, .index = 42, .generation = 5};

static uint64_t page[PAGE_BYTES / sizeof(uint64_t)];

static unsigned char *stamped(struct page_stamp with, enum page_fill fill)
{
    page_stamp_write(page, &with, fill);
    return (unsigned char *)page;
}

static struct page_check check(enum page_fill fill)
{
    return page_stamp_check(page, &stamp, stamp.generation - 1, fill);
}

static void a_stamped_page_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        stamped(stamp, fills[i]);
        assert_int_equal(check(fills[i]).verdict, PAGE_RIGHT);
        assert_int_equal(check(fills[i]).wrong_bytes, 0);
    }
}

static void each_single_byte_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (size_t offset = 0; offset < PAGE_BYTES; offset++) {
            stamped(stamp, fills[i])[offset] ^= 0x10;
            struct page_check found = check(fills[i]);
            assert_int_equal(found.wrong_bytes, 1);
            assert_int_equal(found.first_wrong, offset);
            assert_int_not_equal(found.verdict, PAGE_RIGHT);
        }
    }
}

static void a_page_of_another_generation_is_stale(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (uint64_t generation = 0; generation < 10; generation++) {
            if (generation == stamp.generation)
                continue;
            stamped((struct page_stamp){stamp.owner, stamp.index, generation}, fills[i]);
            assert_int_equal(check(fills[i]).verdict, PAGE_STALE);
        }
    }
}

static void a_page_of_another_place_is_misplaced(void **state)
{
    (void)state;
    stamped((struct page_stamp){stamp.owner, stamp.index + 1, stamp.generation}, PAGE_FILL_RANDOM);
    assert_int_equal(check(PAGE_FILL_RANDOM).verdict, PAGE_MISPLACED);
}

static void a_page_of_another_owner_is_wrong(void **state)
{
    (void)state;
    stamped((struct page_stamp){stamp.owner + 1, stamp.index, stamp.generation}, PAGE_FILL_TEXT);
    assert_int_not_equal(check(PAGE_FILL_TEXT).verdict, PAGE_RIGHT);
}

/* Torn at every word from the second to the last, either half being the old one. */
static void a_page_of_two_generations_is_torn(void **state)
{
    uint64_t old[PAGE_BYTES / sizeof(uint64_t)];
    struct page_stamp before = {stamp.owner, stamp.index, stamp.generation - 1};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        page_stamp_write(old, &before, fills[i]);
        for (size_t cut = 64; cut < PAGE_BYTES; cut += 64) {
            memcpy(stamped(stamp, fills[i]), old, cut);
            assert_int_equal(check(fills[i]).verdict, PAGE_TORN);
            memcpy(stamped(stamp, fills[i]) + cut, (char *)old + cut, PAGE_BYTES - cut);
            assert_int_equal(check(fills[i]).verdict, PAGE_TORN);
        }
    }
}

static void a_lost_page_is_zeroed(void **state)
{
    (void)state;
    memset(page, 0, sizeof(page));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(check(fills[i]).verdict, PAGE_ZEROED);
}

/* With zero fill a page becomes all zero at every second write: the old bytes must not stay. */
static void a_page_that_became_zero_is_checked(void **state)
{
    struct page_stamp even = {stamp.owner, stamp.index, stamp.generation + 1};

    (void)state;
    stamped(stamp, PAGE_FILL_ZERO);
    struct page_check found = page_stamp_check(page, &even, stamp.generation, PAGE_FILL_ZERO);
    assert_int_equal(found.verdict, PAGE_STALE);
    stamped(even, PAGE_FILL_ZERO);
    found = page_stamp_check(page, &even, stamp.generation, PAGE_FILL_ZERO);
    assert_int_equal(found.verdict, PAGE_RIGHT);
    for (size_t i = 0; i < PAGE_BYTES / sizeof(uint64_t); i++)
        assert_int_equal(page[i], 0);
}

static void fills_are_read_by_name(void **state)
{
    enum page_fill fill;

    (void)state;
    assert_int_equal(page_fill_parse("text", &fill), 0);
    assert_int_equal(fill, PAGE_FILL_TEXT);
    assert_true(page_fill_parse("texture", &fill) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stamped_page_is_right),
        cmocka_unit_test(each_single_byte_counts),
        cmocka_unit_test(a_page_of_another_generation_is_stale),
        cmocka_unit_test(a_page_of_another_place_is_misplaced),
        cmocka_unit_test(a_page_of_another_owner_is_wrong),
        cmocka_unit_test(a_page_of_two_generations_is_torn),
        cmocka_unit_test(a_lost_page_is_zeroed),
        cmocka_unit_test(a_page_that_became_zero_is_checked),
        cmocka_unit_test(fills_are_read_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
