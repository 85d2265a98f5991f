/*
 * Bridges and port groups, proven with frames: VLANs stay apart, the uplink carries tags, and a
 * port opens as soon as its tap has carrier.
 */
#include "fixture.h"

#include <net/ethernet.h>
#include <net/if.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/bridge.h"
#include "net/link.h"
#include "net/netlink.h"

#define PATIENCE_MS 3000
#define QUIET_MS 100
#define ALL_TYPES ETH_P_ALL

static const struct port_group blue = {.name = "blue", .bridge = "br-test", .vlan = 10};
static const struct port_group green = {.name = "green", .bridge = "br-test", .vlan = 20};

static void must(int result, const struct error *err)
{
    if (result < 0) {
        fail_msg("%s", err->message);
    }
}

static struct fixture_tap attached_tap(const struct port_group *group)
{
    struct error err = ERROR_NONE;
    struct fixture_tap tap = fixture_tap_new();
    must(bridge_attach(group, tap.name, &err), &err);
    return tap;
}

/* Sends again and again until the frame arrives; the milliseconds that took. */
static double time_until_passed(const struct fixture_tap *from, const struct fixture_tap *to,
                                uint8_t last)
{
    double start = fixture_now_ms();
    while (fixture_now_ms() - start < PATIENCE_MS) {
        fixture_send(from, last);
        if (fixture_receives(to, last, 0.05)) {
            return fixture_now_ms() - start;
        }
    }
    fail_msg("no frame passed within %d ms", PATIENCE_MS);
    return 0;
}

static void ensuring_twice_is_ensuring_once(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    assert_false(bridge_exists("br-twice"));
    must(bridge_ensure("br-twice", NULL, &err), &err);
    unsigned index = if_nametoindex("br-twice");
    must(bridge_ensure("br-twice", NULL, &err), &err);
    assert_true(bridge_exists("br-twice"));
    assert_int_equal(if_nametoindex("br-twice"), index);
    must(bridge_ensure("br-test", "up0", &err), &err); /* so with an uplink */
}

static void frames_stay_in_their_vlan(void **state)
{
    (void)state;
    struct fixture_tap blue_one = attached_tap(&blue);
    struct fixture_tap blue_two = attached_tap(&blue);
    struct fixture_tap green_one = attached_tap(&green);
    struct fixture_tap green_two = attached_tap(&green);
    time_until_passed(&blue_one, &blue_two, 1);
    time_until_passed(&green_one, &green_two, 2);
    fixture_send(&blue_one, 3);
    fixture_send(&green_one, 4);
    assert_true(fixture_receives(&blue_two, 3, PATIENCE_MS));
    assert_true(fixture_receives(&green_two, 4, PATIENCE_MS));
    fixture_send(&blue_one, 5);
    assert_false(fixture_receives(&green_two, 5, QUIET_MS));
    fixture_send(&green_one, 6);
    assert_false(fixture_receives(&blue_two, 6, QUIET_MS));
    close(blue_one.fd);
    close(blue_two.fd);
    close(green_one.fd);
    close(green_two.fd);
}

/* VLANs of what leaves through the uplink for some frames of `tap`: a bit each for 0, 10 and 20. */
static unsigned vlans_on_the_wire(const struct fixture_tap *tap, int milliseconds)
{
    unsigned seen = 0;
    uint8_t frame[2048];
    uint8_t wanted[FRAME_SIZE];
    uint16_t vlan;
    CLEANUP_CLOSE int wire = fixture_listen("wire0", ALL_TYPES);
    double end = fixture_now_ms() + milliseconds;
    fixture_frame(wanted, 7);
    while (fixture_now_ms() < end) {
        fixture_send(tap, 7);
        if (fixture_capture(wire, frame, sizeof(frame), &vlan, 5) >= FRAME_SIZE &&
            memcmp(frame, wanted, FRAME_SIZE) == 0) {
            seen |= vlan == 0 ? 1U : vlan == 10 ? 2U : vlan == 20 ? 4U : 8U;
        }
    }
    return seen;
}

/* Without VLAN filtering in the kernel the access ports tag, the uplink passes all. */
static bool kernel_filters_vlans(void)
{
    struct netlink_link link;
    CLEANUP_NETLINK struct netlink netlink;
    assert_int_equal(netlink_open(&netlink, NULL), 0);
    assert_int_equal(netlink_get_link(&netlink, "br-test", &link), 0);
    print_message("VLANs: %s\n", link.vlan_filtering ? "the bridge filters" : "the ports tag");
    return link.vlan_filtering;
}

static void the_uplink_carries_tags_of_allowed_vlans_only(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct fixture_tap blue_tap = attached_tap(&blue);
    struct fixture_tap green_tap = attached_tap(&green);
    must(bridge_allow_vlan("up0", blue.vlan, &err), &err);
    must(bridge_allow_vlan("up0", blue.vlan, &err), &err);
    assert_int_equal(vlans_on_the_wire(&blue_tap, 300), 2);
    if (kernel_filters_vlans()) {
        assert_int_equal(vlans_on_the_wire(&green_tap, 300), 0);
    }
    must(bridge_allow_vlan("up0", green.vlan, &err), &err);
    assert_int_equal(vlans_on_the_wire(&green_tap, 300), 4);
    close(blue_tap.fd);
    close(green_tap.fd);
}

/* The destination's tap: dark from its birth, then open. No time is asserted but that it is far
 * from the second by which the kernel delays news of links that go down. */
static void a_port_opens_as_soon_as_its_tap_has_carrier(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct fixture_tap peer = attached_tap(&blue);
    double worst = 0;
    for (int round = 0; round < 10; round++) {
        struct fixture_tap guest;
        guest.fd = tap_open(guest.name, &err);
        must(guest.fd, &err);
        must(bridge_attach(&blue, guest.name, &err), &err);
        fixture_send(&peer, 8);
        assert_false(fixture_receives(&guest, 8, round * 10));
        must(tap_set_carrier(guest.fd, true, &err), &err);
        double took = time_until_passed(&guest, &peer, 9);
        took += time_until_passed(&peer, &guest, 10);
        worst = took > worst ? took : worst;
        close(guest.fd);
    }
    print_message("both directions open at worst %.2f ms after carrier on\n", worst);
    close(peer.fd);
}

/* The source's tap. The bridge learns of a lost carrier up to a second late: see bridge.h. */
static void a_port_closes_in_time_and_opens_again(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct fixture_tap peer = attached_tap(&blue);
    struct fixture_tap guest = attached_tap(&blue);
    time_until_passed(&peer, &guest, 1);
    must(tap_set_carrier(guest.fd, false, &err), &err);
    double start = fixture_now_ms();
    do {
        assert_true(fixture_now_ms() - start < PATIENCE_MS);
        fixture_send(&guest, 2);
    } while (fixture_receives(&peer, 2, 50));
    print_message("closed %.0f ms after carrier off\n", fixture_now_ms() - start - 50);
    must(tap_set_carrier(guest.fd, true, &err), &err);
    print_message("open %.2f ms after carrier on\n", time_until_passed(&guest, &peer, 3));
    /* On again before the kernel has told of off: still open. */
    must(tap_set_carrier(guest.fd, false, &err), &err);
    must(tap_set_carrier(guest.fd, true, &err), &err);
    print_message("open %.2f ms after off and on\n", time_until_passed(&guest, &peer, 4));
    close(peer.fd);
    close(guest.fd);
}

/* Repeated, as after a move: the first ones come before the bridge has opened the port. */
static void an_announcement_reaches_the_wire_in_its_vlan(void **state)
{
    (void)state;
    static const uint8_t mac[] = {0x52, 0x54, 0, 0, 0, 0x42};
    struct error err = ERROR_NONE;
    uint8_t frame[2048];
    uint16_t vlan;
    struct fixture_tap guest;
    guest.fd = tap_open(guest.name, &err);
    must(guest.fd, &err);
    must(bridge_attach(&blue, guest.name, &err), &err);
    must(bridge_allow_vlan("up0", blue.vlan, &err), &err);
    CLEANUP_CLOSE int wire = fixture_listen("wire0", ALL_TYPES);
    must(tap_set_carrier(guest.fd, true, &err), &err);
    double start = fixture_now_ms();
    do {
        assert_true(fixture_now_ms() - start < PATIENCE_MS);
        must(tap_announce(guest.fd, mac, &err), &err);
    } while (fixture_capture(wire, frame, sizeof(frame), &vlan, 1) == 0 || frame[12] != 0x80 ||
             frame[13] != 0x35);
    assert_memory_equal(frame + 6, mac, sizeof(mac));
    assert_int_equal(vlan, blue.vlan);
    close(guest.fd);
}

static void a_missing_bridge_is_named_with_a_remedy(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const struct port_group nowhere = {.name = "lost", .bridge = "br-none", .vlan = 10};
    struct fixture_tap tap = fixture_tap_new();
    assert_int_equal(bridge_attach(&nowhere, tap.name, &err), -ENODEV);
    assert_non_null(strstr(err.message, "port group lost"));
    assert_non_null(strstr(err.message, "br-none"));
    assert_non_null(strstr(err.remedy, "droverd.json"));
    close(tap.fd);
}

static void a_missing_uplink_or_tap_is_named(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    assert_int_equal(bridge_ensure("br-up", "none0", &err), -ENODEV);
    assert_non_null(strstr(err.message, "none0"));
    assert_int_equal(bridge_attach(&blue, "none1", &err), -ENODEV);
    assert_non_null(strstr(err.message, "none1"));
}

static void what_is_no_bridge_is_left_alone(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    assert_int_equal(bridge_ensure("wire0", NULL, &err), -EEXIST);
    assert_non_null(strstr(err.message, "no bridge"));
    assert_false(bridge_exists("wire0"));
}

static void a_port_of_another_bridge_is_left_alone(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    assert_int_equal(bridge_ensure("br-other", "up0", &err), -EBUSY);
    assert_non_null(strstr(err.message, "belongs to another"));
    assert_non_null(strstr(err.remedy, "nomaster"));
}

static void bad_vlans_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct port_group bad = {.name = "bad", .bridge = "br-test", .vlan = 4095};
    struct fixture_tap tap = fixture_tap_new();
    assert_int_equal(bridge_attach(&bad, tap.name, &err), -EINVAL);
    assert_int_equal(bridge_allow_vlan("up0", 0, &err), -EINVAL);
    assert_non_null(strstr(err.remedy, "4094"));
    close(tap.fd);
}

static int make_bridge(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    must(link_add_veth(&(struct link_end){"up0", -1, NULL}, &(struct link_end){"wire0", -1, NULL},
                       1500, &err),
         &err);
    must(link_set_up("wire0", true, &err), &err);
    must(bridge_ensure("br-test", "up0", &err), &err);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ensuring_twice_is_ensuring_once),
        cmocka_unit_test(frames_stay_in_their_vlan),
        cmocka_unit_test(the_uplink_carries_tags_of_allowed_vlans_only),
        cmocka_unit_test(a_port_opens_as_soon_as_its_tap_has_carrier),
        cmocka_unit_test(a_port_closes_in_time_and_opens_again),
        cmocka_unit_test(an_announcement_reaches_the_wire_in_its_vlan),
        cmocka_unit_test(a_missing_bridge_is_named_with_a_remedy),
        cmocka_unit_test(a_missing_uplink_or_tap_is_named),
        cmocka_unit_test(what_is_no_bridge_is_left_alone),
        cmocka_unit_test(a_port_of_another_bridge_is_left_alone),
        cmocka_unit_test(bad_vlans_are_refused),
    };
    fixture_private_network();
    return cmocka_run_group_tests(tests, make_bridge, NULL);
}
