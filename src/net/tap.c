/* Taps: see tap.h. */
#include "net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/link.h"

#define TAP_DEVICE "/dev/net/tun"
#define VNET_HEADER_MOST 64
#define FRAME_SIZE 60 /* the least that Ethernet takes, without its checksum */
#define ARP_OPERATION_REVERSE_REQUEST 3

static int open_device(struct error *err)
{
    int fd = open(TAP_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set_errno(err, errno, "cannot open %s", TAP_DEVICE);
        return error_remedy(err, "the kernel needs the tun module (\"modprobe tun\")");
    }
    return fd;
}

int tap_open(char ret_name[TAP_NAME_SIZE], struct error *err)
{
    CLEANUP_CLOSE int fd = open_device(err);
    if (fd < 0) {
        return fd;
    }
    struct ifreq request = {.ifr_name = "dv%d"};
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        return error_set_errno(err, errno, "cannot make a tap");
    }
    int result = tap_set_carrier(fd, false, err);
    if (result < 0) {
        return result;
    }
    link_disable_ipv6(request.ifr_name);
    result = link_set_up(request.ifr_name, true, err);
    if (result < 0) {
        return result;
    }
    memcpy(ret_name, request.ifr_name, TAP_NAME_SIZE);
    return steal_fd(&fd);
}

int tap_set_carrier(int tap_fd, bool carrier, struct error *err)
{
    int on = carrier;
    if (ioctl(tap_fd, TUNSETCARRIER, &on) < 0) {
        return error_set_errno(err, errno, "cannot turn a tap's carrier %s", on ? "on" : "off");
    }
    return 0;
}

/* Broadcast; hardware and protocol addresses as RFC 903 asks: "who am I, of this MAC?" */
static void fill_reverse_request(uint8_t frame[FRAME_SIZE], const uint8_t mac[6])
{
    static const uint8_t fixed[] = {
        0, ARPHRD_ETHER, 0x08, 0x00, ETH_ALEN, 4, 0, ARP_OPERATION_REVERSE_REQUEST};
    memset(frame, 0, FRAME_SIZE);
    memset(frame, 0xff, ETH_ALEN);
    memcpy(frame + 6, mac, ETH_ALEN);
    frame[12] = ETHERTYPE_REVARP >> 8;
    frame[13] = ETHERTYPE_REVARP & 0xff;
    memcpy(frame + 14, fixed, sizeof(fixed));
    memcpy(frame + 22, mac, ETH_ALEN);
    memcpy(frame + 32, mac, ETH_ALEN);
}

/* The virtio-net header in front has the size that the last user of the tap (QEMU) asked for. */
int tap_announce(int tap_fd, const uint8_t mac[6], struct error *err)
{
    uint8_t header[VNET_HEADER_MOST] = {0};
    uint8_t frame[FRAME_SIZE];
    int header_size;
    if (ioctl(tap_fd, TUNGETVNETHDRSZ, &header_size) < 0) {
        return error_set_errno(err, errno, "cannot announce a MAC: not a tap");
    }
    if (header_size < 0 || (size_t)header_size > sizeof(header)) {
        return error_set(err, EPROTO, "cannot announce a MAC: a tap with headers of %d bytes",
                         header_size);
    }
    fill_reverse_request(frame, mac);
    struct iovec parts[] = {{header, (size_t)header_size}, {frame, sizeof(frame)}};
    if (writev(tap_fd, parts, 2) < 0) {
        return error_set_errno(err, errno, "cannot announce a MAC");
    }
    return 0;
}

static int hex_digit(char character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

static bool read_mac(const char *text, uint8_t mac[6])
{
    if (strlen(text) != 17) {
        return false;
    }
    for (int i = 0; i < ETH_ALEN; i++, text += 3) {
        int high = hex_digit(text[0]);
        int low = hex_digit(text[1]);
        if (high < 0 || low < 0 || text[2] != (i < ETH_ALEN - 1 ? ':' : '\0')) {
            return false;
        }
        mac[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int mac_parse(const char *text, uint8_t ret_mac[6], struct error *err)
{
    uint8_t mac[ETH_ALEN];
    bool well_formed = read_mac(text, mac);
    if (!well_formed || mac[0] & 1 || memcmp(mac, "\0\0\0\0\0\0", ETH_ALEN) == 0) {
        error_set(err, EINVAL, "\"%s\" is not the MAC address of a network card", text);
        return error_remedy(err, "write six pairs of hexadecimal digits, the first even, as in "
                                 "52:54:00:12:34:56");
    }
    memcpy(ret_mac, mac, ETH_ALEN);
    return 0;
}
