/*
 * Writes that the kernel makes into guest RAM on QEMU's behalf.
 *
 * A disk read with aio=threads is preadv() into guest RAM, a received frame is read() from a tap
 * device: the vCPU writes nothing, the kernel copies. The tracker must report these pages like any
 * other.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "support.h"
#include "tap.h"

#define PAGES 1024

static int start_on(struct fixture *fixture, const char *ram)
{
    fixture_start(fixture, ram, PAGES);
    guest_write(&fixture->guest, 0, PAGES, 1);
    platform_must(tracker_protect(&fixture->tracker) == 0, "UFFDIO_WRITEPROTECT");
    fixture_scan(fixture);
    return 0;
}

/* The descriptors that the guest reads from; made before any guest, which inherits them. */
static struct {
    int disk;
    int socket_far;
    int socket_near;
    int tap;
    int tap_peer;
} sources;

static int stop(void **state)
{
    fixture_stop(*state);
    return 0;
}

static int start_small(void **state)
{
    static struct fixture fixture;

    *state = &fixture;
    return start_on(&fixture, "ram");
}

static int start_huge(void **state)
{
    static struct fixture fixture;

    *state = &fixture;
    return start_on(&fixture, "huge/ram");
}

/* A disk image in the page cache. */
static void test_file_read_is_reported(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(
        guest_read(&fixture->guest, sources.disk, 50 * PLATFORM_PAGE, 20 * PLATFORM_PAGE),
        20 * PLATFORM_PAGE);
    fixture_expect(fixture, 50, 20, 1);
    fixture_assert_exact(fixture);
}

/* QEMU's scattered request; the page between the two parts stays clean. */
static void test_file_preadv_is_reported(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(
        guest_preadv(&fixture->guest, sources.disk, 600 * PLATFORM_PAGE, 16 * PLATFORM_PAGE),
        16 * PLATFORM_PAGE);
    fixture_expect(fixture, 600, 8, 1);
    fixture_expect(fixture, 609, 8, 1);
    fixture_assert_exact(fixture);
}

/* A disk behind NBD. */
static void test_socket_read_is_reported(void **state)
{
    struct fixture *fixture = *state;
    char data[2 * PLATFORM_PAGE];

    memset(data, 's', sizeof(data));
    assert_int_equal(write(sources.socket_far, data, sizeof(data)), sizeof(data));
    assert_int_equal(
        guest_read(&fixture->guest, sources.socket_near, 300 * PLATFORM_PAGE, sizeof(data)),
        sizeof(data));
    fixture_expect(fixture, 300, 2, 1);
    fixture_assert_exact(fixture);
}

/* A frame that comes in from the network, across a page boundary. */
static void test_tap_input_is_reported(void **state)
{
    struct fixture *fixture = *state;
    uint8_t frame[TAP_FRAME];
    long length;

    tap_drain(sources.tap);
    tap_rarp_frame(frame, 1);
    assert_int_equal(write(sources.tap_peer, frame, sizeof(frame)), sizeof(frame));
    length = guest_read(&fixture->guest, sources.tap, 400 * PLATFORM_PAGE - 20, TAP_FRAME);
    assert_int_equal(length, TAP_FRAME);
    fixture_expect(fixture, 399, 2, 1);
    fixture_assert_exact(fixture);
}

static int open_sources(void **state)
{
    int ends[2];

    (void)state;
    sources.disk = platform_file_new("disk", PAGES * PLATFORM_PAGE);
    platform_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    sources.socket_far = ends[0];
    sources.socket_near = ends[1];
    tap_bridge_new("br0");
    sources.tap = tap_new("tap0");
    sources.tap_peer = tap_new("tap1");
    tap_bridge_add("br0", "tap0");
    tap_bridge_add("br0", "tap1");
    return 0;
}

#define ON_BOTH(test)                                       \
    {#test ", 4 KiB pages", test, start_small, stop, NULL}, \
    {                                                       \
#test ", huge pages", test, start_huge, stop, NULL  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_file_read_is_reported),
        ON_BOTH(test_file_preadv_is_reported),
        ON_BOTH(test_socket_read_is_reported),
        ON_BOTH(test_tap_input_is_reported),
    };

    platform_private_mounts();
    tracker_require();
    tap_private_network();
    platform_mount_tmpfs("huge", "huge=always");
    return cmocka_run_group_tests(tests, open_sources, NULL);
}
