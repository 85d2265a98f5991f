/*
 * Who may do what: QEMU and drover-mover both run without privileges, and must still track memory.
 *
 * The agent opens what needs root (/dev/userfaultfd for QEMU; QEMU's userfaultfd and pagemap for
 * the mover) and hands descriptors down. These tests prove that the descriptors are enough.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/kernel.h"
#include "fixture.h"
#include "support.h"

#define PAGES 1024
#define CANNOT_DROP 100

static int start(void **state)
{
    static struct fixture fixture;

    fixture_start(&fixture, "ram", PAGES);
    *state = &fixture;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

/* Returns the number of the step that failed, 0 if all went well. */
static int track_unprivileged(void *argument)
{
    struct fixture *fixture = argument;

    if (platform_drop_privileges() < 0)
        return CANNOT_DROP;
    if (tracker_protect(&fixture->tracker) != 0)
        return 1;
    if (tracker_scan(&fixture->tracker, NULL) < 0)
        return 2;
    guest_write(&fixture->guest, 7, 50, 3);
    if (tracker_scan(&fixture->tracker, fixture->written) != 50)
        return 3;
    return fixture->written[7 + 49 * 3] == 1 ? 0 : 4;
}

/* drover-mover: opened as root, used as nobody. */
static void test_tracking_works_without_privileges_once_descriptors_are_open(void **state)
{
    assert_int_equal(platform_run(track_unprivileged, *state), 0);
}

static int open_pagemap_unprivileged(void *argument)
{
    struct fixture *fixture = argument;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)fixture->guest.pid);
    if (platform_drop_privileges() < 0)
        return CANNOT_DROP;
    if (open(path, O_RDONLY | O_CLOEXEC) >= 0)
        return 0;
    return errno;
}

/* ... and it must be opened before: afterwards the kernel refuses. */
static void test_pagemap_cannot_be_opened_without_privileges(void **state)
{
    assert_int_equal(platform_run(open_pagemap_unprivileged, *state), EACCES);
}

static int call_userfaultfd_unprivileged(void *argument)
{
    (void)argument;
    if (platform_drop_privileges() < 0)
        return CANNOT_DROP;
    return syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK) >= 0 ? 0 : errno;
}

static void skip_where_unprivileged_userfaultfd_is_allowed(void)
{
    FILE *setting = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");
    int allowed = 0;

    if (setting && fscanf(setting, "%d", &allowed) != 1)
        allowed = 0;
    if (setting)
        fclose(setting);
    if (allowed)
        platform_skip_case("vm.unprivileged_userfaultfd=1 lets anyone call userfaultfd(2)");
}

/* Why the preload library does not simply call userfaultfd(2) in an unprivileged QEMU. */
static void test_userfaultfd_call_is_refused_without_privileges(void **state)
{
    (void)state;
    skip_where_unprivileged_userfaultfd_is_allowed();
    assert_int_equal(platform_run(call_userfaultfd_unprivileged, NULL), EPERM);
}

/* Makes a userfaultfd as the preload library does, and tracks memory with it. */
static int make_own_userfaultfd(void *argument)
{
    int device = *(int *)argument;
    struct uffdio_api api = {.api = UFFD_API, .features = TRACKER_FEATURES};
    struct uffdio_register range = {.range.len = PAGES * PLATFORM_PAGE,
                                    .mode = UFFDIO_REGISTER_MODE_WP};
    void *memory = mmap(NULL, PAGES * PLATFORM_PAGE, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int userfaultfd;

    if (memory == MAP_FAILED || platform_drop_privileges() < 0)
        return CANNOT_DROP;
    userfaultfd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    if (userfaultfd < 0)
        return 1;
    if (ioctl(userfaultfd, UFFDIO_API, &api) < 0)
        return 2;
    range.range.start = (uint64_t)memory;
    return ioctl(userfaultfd, UFFDIO_REGISTER, &range) == 0 ? 0 : 3;
}

/*
 * The preload library in QEMU: an inherited, open /dev/userfaultfd gives a full userfaultfd to
 * nobody.
 */
static void test_inherited_userfaultfd_device_works_without_privileges(void **state)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

    (void)state;
    if (device < 0)
        platform_skip_case("/dev/userfaultfd does not open: %s", strerror(errno));
    assert_int_equal(platform_run(make_own_userfaultfd, &device), 0);
    close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_tracking_works_without_privileges_once_descriptors_are_open, start, stop),
        cmocka_unit_test_setup_teardown(test_pagemap_cannot_be_opened_without_privileges, start,
                                        stop),
        cmocka_unit_test(test_userfaultfd_call_is_refused_without_privileges),
        cmocka_unit_test(test_inherited_userfaultfd_device_works_without_privileges),
    };

    platform_private_mounts();
    tracker_require();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
