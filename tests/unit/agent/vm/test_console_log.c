/* A console log stays short, keeps its end, and who appends to it goes on. */
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/vm/console_log.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "scratch.h"

#define LINE "a line of 16 by\n"
#define LINE_BYTES (sizeof(LINE) - 1)

struct fixture {
    char path[256];
    int guest; /* appends, as QEMU does */
};

static void set_up(struct fixture *fixture, void **state)
{
    snprintf(fixture->path, sizeof(fixture->path), "%s/serial.log", (const char *)*state);
    fixture->guest = open(fixture->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fixture->guest >= 0);
}

static void write_lines(const struct fixture *fixture, size_t bytes)
{
    for (size_t written = 0; written < bytes; written += LINE_BYTES) {
        assert_int_equal(write(fixture->guest, LINE, LINE_BYTES), LINE_BYTES);
    }
}

static size_t size_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (size_t)status.st_size;
}

static void cut(const char *path)
{
    struct error err = ERROR_NONE;
    assert_int_equal(console_log_cut(path, &err), 0);
}

static void a_short_one_stays_as_it_is(void **state)
{
    struct fixture fixture;
    set_up(&fixture, state);
    write_lines(&fixture, CONSOLE_LOG_BYTES_MOST);
    cut(fixture.path);
    assert_int_equal(size_of(fixture.path), CONSOLE_LOG_BYTES_MOST);
    close(fixture.guest);
}

static void a_long_one_is_cut_to_its_end_and_goes_on(void **state)
{
    struct fixture fixture;
    struct error err = ERROR_NONE;
    CLEANUP_BUFFER struct buffer text = {0};
    set_up(&fixture, state);
    write_lines(&fixture, 3 * CONSOLE_LOG_BYTES_MOST);
    assert_int_equal(write(fixture.guest, "last", 4), 4);
    cut(fixture.path);
    assert_int_equal(write(fixture.guest, "next", 4), 4);
    assert_int_equal(file_read(fixture.path, CONSOLE_LOG_BYTES_MOST, &text, &err), 0);
    assert_int_equal(text.length, CONSOLE_LOG_BYTES_KEPT + 4);
    assert_memory_equal(text.data + text.length - 8, "lastnext", 8);
    close(fixture.guest);
}

static void what_is_not_there_or_no_file_is_left_alone(void **state)
{
    struct fixture fixture;
    char other[256];
    set_up(&fixture, state);
    write_lines(&fixture, 2 * CONSOLE_LOG_BYTES_MOST);
    snprintf(other, sizeof(other), "%s/other", (const char *)*state);
    cut(other);
    assert_int_equal(symlink(fixture.path, other), 0);
    cut(other);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkfifo(other, 0600), 0);
    cut(other);
    assert_int_equal(size_of(fixture.path), 2 * CONSOLE_LOG_BYTES_MOST);
    close(fixture.guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_short_one_stays_as_it_is),
        scratch_test(a_long_one_is_cut_to_its_end_and_goes_on),
        scratch_test(what_is_not_there_or_no_file_is_left_alone),
    };
    return cmocka_run_group_tests_name("agent/vm/console_log", tests, NULL, NULL);
}
