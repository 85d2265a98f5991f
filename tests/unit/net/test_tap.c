/* Taps: their life, their carrier, the announcement on the wire; MAC addresses. */
#include "fixture.h"

#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

#define QEMU_HEADER_SIZE 12 /* with the count of merged buffers */
#define PATIENCE_MS 1000

static const uint8_t guest_mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

/* The device's own word: IFF_RUNNING follows up to a second later. */
static bool is_up_with_carrier(const char *name, bool *ret_carrier)
{
    struct ethtool_value link = {.cmd = ETHTOOL_GLINK};
    struct ifreq request = {0};
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    request.ifr_data = (char *)&link;
    assert_int_equal(ioctl(fd, SIOCETHTOOL, &request), 0);
    *ret_carrier = link.data;
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    return request.ifr_flags & IFF_UP;
}

static void a_tap_is_up_without_carrier(void **state)
{
    (void)state;
    char name[TAP_NAME_SIZE];
    struct error err = ERROR_NONE;
    CLEANUP_CLOSE int fd = tap_open(name, &err);
    assert_true(fd >= 0);
    assert_int_equal(strncmp(name, "dv", 2), 0);
    bool carrier;
    assert_true(is_up_with_carrier(name, &carrier));
    assert_false(carrier);
    assert_int_equal(tap_set_carrier(fd, true, &err), 0);
    assert_true(is_up_with_carrier(name, &carrier));
    assert_true(carrier);
}

static void each_tap_has_a_name_of_its_own(void **state)
{
    (void)state;
    char one[TAP_NAME_SIZE];
    char other[TAP_NAME_SIZE];
    CLEANUP_CLOSE int one_fd = tap_open(one, NULL);
    CLEANUP_CLOSE int other_fd = tap_open(other, NULL);
    assert_true(one_fd >= 0 && other_fd >= 0);
    assert_string_not_equal(one, other);
}

static void a_tap_goes_with_its_last_descriptor(void **state)
{
    (void)state;
    char name[TAP_NAME_SIZE];
    int fd = tap_open(name, NULL);
    int copy = dup(fd);
    close(fd);
    assert_int_not_equal(if_nametoindex(name), 0);
    close(copy);
    assert_int_equal(if_nametoindex(name), 0);
}

static void carrier_wants_a_tap(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_true(tap_set_carrier(pipes[0], true, &err) < 0);
    assert_non_null(strstr(err.message, "cannot turn a tap's carrier on"));
    assert_true(tap_announce(pipes[0], guest_mac, &err) < 0);
    assert_non_null(strstr(err.message, "cannot announce a MAC"));
    close(pipes[0]);
    close(pipes[1]);
}

static void expect_announcement(const struct fixture_tap *tap)
{
    static const uint8_t expected[] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,       /* to everyone */
        0x52, 0x54, 0x00, 0x12, 0x34, 0x56,       /* from the guest */
        0x80, 0x35,                               /* RARP */
        0x00, 0x01, 0x08, 0x00, 6,    4,    0, 3, /* Ethernet, IPv4, reverse request */
        0x52, 0x54, 0x00, 0x12, 0x34, 0x56,       /* sender: the guest's MAC ... */
        0,    0,    0,    0,                      /* ... no address */
        0x52, 0x54, 0x00, 0x12, 0x34, 0x56,       /* target: the same */
        0,    0,    0,    0,
    };
    struct error err = ERROR_NONE;
    uint8_t frame[2048];
    uint16_t vlan;
    CLEANUP_CLOSE int wire = fixture_listen(tap->name, ETHERTYPE_REVARP);
    assert_int_equal(tap_announce(tap->fd, guest_mac, &err), 0);
    size_t length = fixture_capture(wire, frame, sizeof(frame), &vlan, PATIENCE_MS);
    assert_int_equal(length, FRAME_SIZE);
    assert_memory_equal(frame, expected, sizeof(expected));
    for (size_t i = sizeof(expected); i < length; i++) {
        assert_int_equal(frame[i], 0);
    }
}

static void an_announcement_is_a_reverse_request(void **state)
{
    (void)state;
    struct fixture_tap tap = fixture_tap_new();
    expect_announcement(&tap);
    close(tap.fd);
}

static void an_announcement_heeds_the_header_that_qemu_chose(void **state)
{
    (void)state;
    int size = QEMU_HEADER_SIZE;
    struct fixture_tap tap = fixture_tap_new();
    assert_int_equal(ioctl(tap.fd, TUNSETVNETHDRSZ, &size), 0);
    expect_announcement(&tap);
    close(tap.fd);
}

static void macs_are_read(void **state)
{
    (void)state;
    uint8_t mac[6];
    assert_int_equal(mac_parse("52:54:00:12:34:56", mac, NULL), 0);
    assert_memory_equal(mac, guest_mac, sizeof(mac));
    assert_int_equal(mac_parse("02:AB:cd:EF:00:ff", mac, NULL), 0);
    assert_memory_equal(mac, "\x02\xab\xcd\xef\x00\xff", sizeof(mac));
}

static void bad_macs_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "52:54:00:12:34",
        "52:54:00:12:34:56:78",
        "52:54:00:12:34:5",
        "52:54:00:12:34:5g",
        "52-54-00-12-34-56",
        "525400123456",
        "52:54:00:12:34:56 ",
        " 2:54:00:12:34:56",
        "+2:54:00:12:34:56",
        "\x10\x11:54:00:12:34:56",
        "01:00:5e:00:00:01", /* a group's */
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_NONE;
        uint8_t mac[6] = {1, 2, 3, 4, 5, 6};
        assert_int_equal(mac_parse(bad[i], mac, &err), -EINVAL);
        assert_non_null(strstr(err.message, bad[i]));
        assert_non_null(strstr(err.remedy, "52:54:00:12:34:56"));
        assert_memory_equal(mac, "\1\2\3\4\5\6", sizeof(mac));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tap_is_up_without_carrier),
        cmocka_unit_test(each_tap_has_a_name_of_its_own),
        cmocka_unit_test(a_tap_goes_with_its_last_descriptor),
        cmocka_unit_test(carrier_wants_a_tap),
        cmocka_unit_test(an_announcement_is_a_reverse_request),
        cmocka_unit_test(an_announcement_heeds_the_header_that_qemu_chose),
        cmocka_unit_test(macs_are_read),
        cmocka_unit_test(bad_macs_are_refused),
    };
    fixture_private_network();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
