/* Memory taken ahead: what the source describes is what the destination fills, and no more. */
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/move/populate.h"
#include "base/json.h"

#define MEMORY_UNITS 16u
#define MEMORY_SIZE (MEMORY_UNITS * POPULATE_UNIT)

static int memory_new(void)
{
    int fd = memfd_create("memory", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)MEMORY_SIZE), 0);
    return fd;
}

static uint64_t bytes_held(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void write_byte(int fd, uint64_t offset)
{
    assert_int_equal(pwrite(fd, "x", 1, (off_t)offset), 1);
}

static void what_has_data_is_populated(void **state)
{
    (void)state;
    int source = memory_new(), destination = memory_new();
    struct populate *populate;
    struct error err = ERROR_NONE;
    write_byte(source, 3 * POPULATE_UNIT + 5);
    write_byte(source, 4 * POPULATE_UNIT);
    write_byte(source, MEMORY_SIZE - 1);
    CLEANUP_JSON json_t *description = populate_describe(source, MEMORY_SIZE);
    CLEANUP_JSON json_t *expected = json_pack("[[i,i],[i,i]]", 3, 2, MEMORY_UNITS - 1, 1);
    assert_true(json_equal(description, expected));
    assert_int_equal(populate_new(description, MEMORY_SIZE, &populate, &err), 0);
    populate_begin(populate, destination);
    for (int i = 0; i < 5000 && bytes_held(destination) < 3 * POPULATE_UNIT; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    populate_free(populate);
    assert_int_equal(bytes_held(destination), 3 * POPULATE_UNIT);
    assert_int_equal(lseek(destination, 0, SEEK_DATA), 3 * POPULATE_UNIT);
    close(source);
    close(destination);
}

static void nothing_is_described_of_an_empty_machine(void **state)
{
    (void)state;
    int source = memory_new();
    CLEANUP_JSON json_t *description = populate_describe(source, MEMORY_SIZE);
    assert_int_equal(json_array_size(description), 0);
    close(source);
}

static void an_old_source_describes_nothing(void **state)
{
    (void)state;
    struct populate *populate;
    struct error err = ERROR_NONE;
    assert_int_equal(populate_new(NULL, MEMORY_SIZE, &populate, &err), 0);
    assert_null(populate);
    populate_begin(populate, -1);
    populate_free(populate);
}

static void nonsense_is_refused(void **state)
{
    static const char *const texts[] = {
        "{}",       "[1]",      "[[0]]",       "[[0,0]]",       "[[-1,1]]",
        "[[0,17]]", "[[16,1]]", "[[\"0\",1]]", "[[2,2],[3,1]]", "[[0,9223372036854775807]]"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CLEANUP_JSON json_t *description = json_loads(texts[i], 0, NULL);
        struct populate *populate;
        struct error err = ERROR_NONE;
        assert_int_equal(populate_new(description, MEMORY_SIZE, &populate, &err), -EINVAL);
        assert_null(populate);
    }
}

static void it_can_be_ended_before_it_is_done(void **state)
{
    (void)state;
    int destination = memory_new();
    CLEANUP_JSON json_t *description = json_pack("[[i,i]]", 0, MEMORY_UNITS);
    struct populate *populate;
    struct error err = ERROR_NONE;
    assert_int_equal(populate_new(description, MEMORY_SIZE, &populate, &err), 0);
    populate_begin(populate, destination);
    populate_free(populate);
    assert_true(bytes_held(destination) <= MEMORY_SIZE);
    close(destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_data_is_populated),
        cmocka_unit_test(nothing_is_described_of_an_empty_machine),
        cmocka_unit_test(an_old_source_describes_nothing),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(it_can_be_ended_before_it_is_done),
    };
    return cmocka_run_group_tests_name("agent/move/populate", tests, NULL, NULL);
}
