/*
 * Switching the network over without privileges.
 *
 * At the switchover the source's tap goes dark and the destination's lights up. The mover, which
 * has no capabilities, does it with TUNSETCARRIER on the tap's descriptor that it inherited; the
 * bridge does the rest. Announcements (RARP) are written into the same descriptor, and enter the
 * bridge as if the guest had sent them.
 */
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "support.h"
#include "tap.h"

#define PATIENCE_MS 3000.0
#define SHORT_MS 50.0

static struct {
    int guest; /* tap0: the virtual machine's */
    int peer;  /* tap1: another port of the bridge */
} taps;

struct carrier_order {
    int tap;
    int on;
};

static int set_carrier_unprivileged(void *argument)
{
    const struct carrier_order *order = argument;

    if (platform_drop_privileges() < 0)
        return 2;
    return ioctl(order->tap, TUNSETCARRIER, &order->on) == 0 ? 0 : 1;
}

static void set_carrier(int tap, int on)
{
    struct carrier_order order = {.tap = tap, .on = on};

    assert_int_equal(platform_run(set_carrier_unprivileged, &order), 0);
}

/* Sends the frame again and again until it arrives; returns the milliseconds this took. */
static double time_until_passed(int from, int to, uint8_t last)
{
    double start = platform_now_ms();
    uint8_t frame[TAP_FRAME];

    tap_rarp_frame(frame, last);
    while (platform_now_ms() - start < PATIENCE_MS) {
        if (write(from, frame, sizeof(frame)) == sizeof(frame) && tap_expect_rarp(to, last, 1))
            return platform_now_ms() - start;
    }
    fail_msg("no frame passed within %.0f ms", PATIENCE_MS);
    return 0;
}

/* Sends until a frame no longer arrives; returns the milliseconds this took. */
static double time_until_blocked(int from, int to, uint8_t last)
{
    double start = platform_now_ms();
    uint8_t frame[TAP_FRAME];

    tap_rarp_frame(frame, last);
    while (platform_now_ms() - start < PATIENCE_MS) {
        if (write(from, frame, sizeof(frame)) != sizeof(frame) ||
            !tap_expect_rarp(to, last, SHORT_MS))
            return platform_now_ms() - start;
    }
    fail_msg("frames still passed after %.0f ms", PATIENCE_MS);
    return 0;
}

static void test_carrier_is_switched_without_privileges(void **state)
{
    (void)state;
    set_carrier(taps.guest, 0);
    assert_false(tap_has_carrier("tap0"));
    set_carrier(taps.guest, 1);
    assert_true(tap_has_carrier("tap0"));
}

/*
 * The destination's announcement, and what a guest sends: from tap descriptor to the other bridge
 * port.
 */
static void test_frame_written_to_the_descriptor_enters_the_bridge(void **state)
{
    double took;

    (void)state;
    tap_drain(taps.peer);
    took = time_until_passed(taps.guest, taps.peer, 1);
    print_message("passed after %.1f ms\n", took);
}

/* Destination: dark until the switchover, then open at once, in both directions. */
static void test_port_passes_frames_soon_after_carrier_returns(void **state)
{
    double took;

    (void)state;
    for (int round = 0; round < 3; round++) {
        set_carrier(taps.guest, 0);
        time_until_blocked(taps.peer, taps.guest, 2);
        tap_drain(taps.guest);
        set_carrier(taps.guest, 1);
        took = time_until_passed(taps.peer, taps.guest, 3);
        print_message("towards the guest: passes %.1f ms after carrier on\n", took);
        time_until_passed(taps.guest, taps.peer, 4);
    }
}

/* Ends once the kernel has taken notice of the last change, and frames pass again. */
static void restore_carrier(void)
{
    set_carrier(taps.guest, 1);
    time_until_passed(taps.peer, taps.guest, 7);
    time_until_passed(taps.guest, taps.peer, 7);
}

/*
 * Source: dark from the switchover on, but not at once! The kernel tells the bridge of a lost
 * carrier at most once a second (linkwatch), of one regained immediately. Until then the port
 * forwards. Drover can rely on the descriptor, not on the bridge: it stops writing to it, and
 * frames that still come out of it are forwarded to the destination.
 */
static void test_lost_carrier_stops_frames_from_the_guest_within_seconds(void **state)
{
    (void)state;
    set_carrier(taps.guest, 0);
    print_message("frames from the guest still entered the bridge for %.0f ms\n",
                  time_until_blocked(taps.guest, taps.peer, 5) - SHORT_MS);
    assert_false(tap_is_running("tap0"));
    restore_carrier();
}

static void test_lost_carrier_stops_frames_to_the_guest_within_seconds(void **state)
{
    (void)state;
    set_carrier(taps.guest, 0);
    print_message("frames still came out of the descriptor for %.0f ms\n",
                  time_until_blocked(taps.peer, taps.guest, 6) - SHORT_MS);
    restore_carrier();
}

static int start(void **state)
{
    (void)state;
    tap_bridge_new("br0");
    taps.guest = tap_new("tap0");
    taps.peer = tap_new("tap1");
    tap_bridge_add("br0", "tap0");
    tap_bridge_add("br0", "tap1");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_carrier_is_switched_without_privileges),
        cmocka_unit_test(test_frame_written_to_the_descriptor_enters_the_bridge),
        cmocka_unit_test(test_port_passes_frames_soon_after_carrier_returns),
        cmocka_unit_test(test_lost_carrier_stops_frames_from_the_guest_within_seconds),
        cmocka_unit_test(test_lost_carrier_stops_frames_to_the_guest_within_seconds),
    };

    if (geteuid() != 0)
        platform_skip_program("network namespaces and tap devices need root");
    tap_private_network();
    return cmocka_run_group_tests(tests, start, NULL);
}
