/* The watchdog device, played by a pipe with a name: what it is told. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "guard/watchdog.h"
#include "scratch.h"

static const char *device_path(void **state)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/watchdog", (const char *)*state);
    return path;
}

static void it_is_petted_and_stopped(void **state)
{
    struct watchdog watchdog = {.fd = -1};
    char told[8];
    assert_int_equal(mkfifo(device_path(state), 0600), 0);
    CLEANUP_CLOSE int device = open(device_path(state), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(watchdog_open(&watchdog, device_path(state), NULL), 0);
    watchdog_limit(&watchdog, 3 * NANOSECONDS_PER_SECOND); /* which a pipe does not take */
    watchdog_pet(&watchdog);
    watchdog_pet(&watchdog);
    assert_int_equal(read(device, told, sizeof(told)), 2);
    assert_memory_equal(told, "\0\0", 2);
    watchdog_close(&watchdog);
    assert_int_equal(watchdog.fd, -1);
    assert_int_equal(read(device, told, sizeof(told)), 1);
    assert_int_equal(told[0], 'V');
}

static void a_missing_device_is_an_error(void **state)
{
    struct watchdog watchdog = {.fd = -1};
    struct error err = ERROR_NONE;
    assert_int_equal(watchdog_open(&watchdog, device_path(state), &err), -ENOENT);
    assert_non_null(strstr(err.remedy, "--watchdog"));
}

static void no_watchdog_is_none(void **state)
{
    struct watchdog watchdog = {.fd = -1};
    (void)state;
    watchdog_limit(&watchdog, NANOSECONDS_PER_SECOND);
    watchdog_pet(&watchdog);
    watchdog_close(&watchdog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(it_is_petted_and_stopped),
        scratch_test(a_missing_device_is_an_error),
        scratch_test(no_watchdog_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
