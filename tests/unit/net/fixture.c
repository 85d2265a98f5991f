/* See fixture.h. */
#include "fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <math.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define SKIPPED 77
#define TYPE_OF_NOBODY 0x88b5 /* IEEE: for local experiments */
#define VLAN_MASK 0xfff

void fixture_private_network(void)
{
    if (unshare(CLONE_NEWNET) < 0) {
        printf("skipped: no network namespace can be made here: %s\n", strerror(errno));
        exit(SKIPPED);
    }
    if (access("/dev/net/tun", R_OK | W_OK) < 0) {
        printf("skipped: /dev/net/tun: %s\n", strerror(errno));
        exit(SKIPPED);
    }
}

double fixture_now_ms(void)
{
    return (double)clock_monotonic_ns() / NANOSECONDS_PER_MILLISECOND;
}

struct fixture_tap fixture_tap_new(void)
{
    struct error err = ERROR_NONE;
    struct fixture_tap tap;
    tap.fd = tap_open(tap.name, &err);
    if (tap.fd < 0 || tap_set_carrier(tap.fd, true, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return tap;
}

void fixture_frame(uint8_t frame[FRAME_SIZE], uint8_t last)
{
    const uint8_t mac[] = {0x52, 0x54, 0, 0, 0, last};
    memset(frame, 0, FRAME_SIZE);
    memset(frame, 0xff, ETH_ALEN);
    memcpy(frame + ETH_ALEN, mac, ETH_ALEN);
    frame[12] = TYPE_OF_NOBODY >> 8;
    frame[13] = TYPE_OF_NOBODY & 0xff;
    frame[14] = last;
}

void fixture_send(const struct fixture_tap *tap, uint8_t last)
{
    uint8_t packet[VNET_HEADER_SIZE + FRAME_SIZE] = {0};
    fixture_frame(packet + VNET_HEADER_SIZE, last);
    (void)!write(tap->fd, packet, sizeof(packet)); /* a tap that is dark may refuse */
}

bool fixture_receives(const struct fixture_tap *tap, uint8_t last, double milliseconds)
{
    double end = fixture_now_ms() + milliseconds;
    uint8_t wanted[FRAME_SIZE];
    uint8_t packet[2048];
    fixture_frame(wanted, last);
    for (double left = milliseconds; left > 0; left = end - fixture_now_ms()) {
        struct pollfd waiting = {.fd = tap->fd, .events = POLLIN};
        struct timespec limit = {.tv_sec = (time_t)(left / 1e3),
                                 .tv_nsec = (long)(fmod(left, 1e3) * 1e6)};
        if (ppoll(&waiting, 1, &limit, NULL) <= 0) {
            continue;
        }
        if (read(tap->fd, packet, sizeof(packet)) == VNET_HEADER_SIZE + FRAME_SIZE &&
            memcmp(packet + VNET_HEADER_SIZE, wanted, FRAME_SIZE) == 0) {
            return true;
        }
    }
    return false;
}

int fixture_listen(const char *link, uint16_t type)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(type),
                                  .sll_ifindex = (int)if_nametoindex(link)};
    int on = 1;
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)), 0);
    return fd;
}

static uint16_t vlan_of(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        struct tpacket_auxdata data;
        if (part->cmsg_type == PACKET_AUXDATA) {
            memcpy(&data, CMSG_DATA(part), sizeof(data));
            return data.tp_status & TP_STATUS_VLAN_VALID ? data.tp_vlan_tci & VLAN_MASK : 0;
        }
    }
    return 0;
}

size_t fixture_capture(int socket, uint8_t *frame, size_t size, uint16_t *ret_vlan,
                       int milliseconds)
{
    char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct iovec vector = {frame, size};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct pollfd waiting = {.fd = socket, .events = POLLIN};
    if (poll(&waiting, 1, milliseconds) <= 0) {
        return 0;
    }
    ssize_t got = recvmsg(socket, &message, 0);
    assert_true(got > 0);
    *ret_vlan = vlan_of(&message);
    return (size_t)got;
}
