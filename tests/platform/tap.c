/* See tap.h. */
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

#define ETHERTYPE_AT 12

void tap_private_network(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        platform_skip_program("no network namespace can be made here: %s", strerror(errno));
    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        platform_skip_program("/dev/net/tun is missing or closed: %s", strerror(errno));
}

/* An ioctl on a network device by name. */
static void control(unsigned long request, struct ifreq *device)
{
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    platform_must(socket_fd >= 0, "socket");
    platform_must(ioctl(socket_fd, request, device) == 0, device->ifr_name);
    close(socket_fd);
}

static struct ifreq device_named(const char *name)
{
    struct ifreq device = {0};

    snprintf(device.ifr_name, sizeof(device.ifr_name), "%s", name);
    return device;
}

static void set_up(const char *name)
{
    struct ifreq device = device_named(name);

    control(SIOCGIFFLAGS, &device);
    device.ifr_flags |= IFF_UP;
    control(SIOCSIFFLAGS, &device);
}

int tap_new(const char *name)
{
    struct ifreq device = device_named(name);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    platform_must(fd >= 0, "/dev/net/tun");
    device.ifr_flags = IFF_TAP | IFF_NO_PI;
    platform_must(ioctl(fd, TUNSETIFF, &device) == 0, "TUNSETIFF");
    set_up(name);
    return fd;
}

void tap_bridge_new(const char *name)
{
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    platform_must(socket_fd >= 0, "socket");
    if (ioctl(socket_fd, SIOCBRADDBR, name) < 0)
        platform_skip_program("no bridge can be made here: %s", strerror(errno));
    close(socket_fd);
    set_up(name);
}

void tap_bridge_add(const char *bridge, const char *port)
{
    struct ifreq device = device_named(bridge);

    device.ifr_ifindex = (int)if_nametoindex(port);
    control(SIOCBRADDIF, &device);
}

bool tap_has_carrier(const char *name)
{
    struct ethtool_value link = {.cmd = ETHTOOL_GLINK};
    struct ifreq device = device_named(name);

    device.ifr_data = (char *)&link;
    control(SIOCETHTOOL, &device);
    return link.data;
}

bool tap_is_running(const char *name)
{
    struct ifreq device = device_named(name);

    control(SIOCGIFFLAGS, &device);
    return device.ifr_flags & IFF_RUNNING;
}

void tap_rarp_frame(uint8_t frame[TAP_FRAME], uint8_t last)
{
    const uint8_t mac[] = {0x52, 0x54, 0, 0, 0, last};
    const uint8_t request[] = {0, 1, 8, 0, 6, 4, 0, 3};

    memset(frame, 0, TAP_FRAME);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    frame[ETHERTYPE_AT] = TAP_ETHERTYPE_RARP >> 8;
    frame[ETHERTYPE_AT + 1] = TAP_ETHERTYPE_RARP & 0xff;
    memcpy(frame + 14, request, sizeof(request));
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 32, mac, 6);
}

bool tap_expect_rarp(int fd, uint8_t last, double milliseconds)
{
    double end = platform_now_ms() + milliseconds;
    uint8_t wanted[TAP_FRAME];
    uint8_t frame[2048];

    tap_rarp_frame(wanted, last);
    for (double left = milliseconds; left > 0; left = end - platform_now_ms()) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        if (poll(&poll_fd, 1, (int)left + 1) <= 0)
            continue;
        if (read(fd, frame, sizeof(frame)) == TAP_FRAME && memcmp(frame, wanted, TAP_FRAME) == 0)
            return true;
    }
    return false;
}

void tap_drain(int fd)
{
    uint8_t frame[2048];

    while (read(fd, frame, sizeof(frame)) > 0)
        ;
}
