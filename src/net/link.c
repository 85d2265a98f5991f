/* Links: see link.h. */
#include "net/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/route/link.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/tc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/netlink.h"

#define BUCKETS_PER_SECOND 100   /* a bucket holds what 10 ms may send */
#define BUCKET_LEAST (256 << 10) /* and several segments of the largest size */
#define QUEUE_MOST_US 50000      /* a queue longer than this drops */

static bool link_name_fits(const char *name)
{
    return name[0] != '\0' && strlen(name) < LINK_NAME_SIZE;
}

int link_index(const char *name, struct error *err)
{
    unsigned index = if_nametoindex(name);
    if (index == 0) {
        error_set(err, ENODEV, "there is no network link named %s", name);
        return error_remedy(err, "see \"ip link\" for the links of this host");
    }
    return (int)index;
}

static void put_veth_end(struct nl_msg *message, const struct link_end *end, unsigned mtu)
{
    nla_put_string(message, IFLA_IFNAME, end->name);
    nla_put_u32(message, IFLA_MTU, mtu);
    if (end->mac) {
        nla_put(message, IFLA_ADDRESS, ETH_ALEN, end->mac);
    }
    if (end->namespace_fd >= 0) {
        nla_put_u32(message, IFLA_NET_NS_FD, (uint32_t)end->namespace_fd);
    }
}

static struct nl_msg *veth_message(const struct link_end *one, const struct link_end *other,
                                   unsigned mtu)
{
    struct nl_msg *message =
        netlink_link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0);
    if (!message) {
        return NULL;
    }
    put_veth_end(message, one, mtu);
    struct nlattr *information = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    struct ifinfomsg header = {0};
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    put_veth_end(message, other, mtu);
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, information);
    return message;
}

int link_add_veth(const struct link_end *one, const struct link_end *other, unsigned mtu,
                  struct error *err)
{
    if (!link_name_fits(one->name) || !link_name_fits(other->name)) {
        return error_set(err, EINVAL, "\"%s\" and \"%s\" must be link names of 1 to %d characters",
                         one->name, other->name, LINK_NAME_SIZE - 1);
    }
    CLEANUP_NETLINK struct netlink netlink;
    int result = netlink_open(&netlink, err);
    if (result < 0) {
        return result;
    }
    result = netlink_request(&netlink, veth_message(one, other, mtu));
    if (result < 0) {
        error_set_errno(err, result, "cannot make the cable from %s to %s", one->name, other->name);
    }
    if (result == -EOPNOTSUPP) {
        error_remedy(err, "the kernel needs veth: load its module (\"modprobe veth\")");
    }
    return result;
}

int link_remove(const char *name, struct error *err)
{
    CLEANUP_NETLINK struct netlink netlink;
    int result = netlink_open(&netlink, err);
    if (result < 0) {
        return result;
    }
    struct netlink_link link;
    result = netlink_get_link(&netlink, name, &link);
    if (result == 0) {
        result =
            netlink_request(&netlink, netlink_link_message(RTM_DELLINK, 0, AF_UNSPEC, link.index));
    }
    if (result < 0 && result != -ENODEV) {
        return error_set_errno(err, result, "cannot remove the link %s", name);
    }
    return 0;
}

int link_set_up(const char *name, bool up, struct error *err)
{
    int index = link_index(name, err);
    if (index < 0) {
        return index;
    }
    CLEANUP_NETLINK struct netlink netlink;
    int result = netlink_open(&netlink, err);
    if (result < 0) {
        return result;
    }
    struct ifinfomsg header = {
        .ifi_index = index, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWLINK, 0);
    if (message) {
        nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    }
    result = netlink_request(&netlink, message);
    if (result < 0) {
        return error_set_errno(err, result, "cannot bring the link %s %s", name,
                               up ? "up" : "down");
    }
    return 0;
}

int link_add_address(const char *name, const char *address, unsigned prefix, struct error *err)
{
    struct in_addr binary;
    if (inet_pton(AF_INET, address, &binary) != 1 || prefix > 32) {
        return error_set(err, EINVAL, "%s/%u is not an IPv4 address", address, prefix);
    }
    int index = link_index(name, err);
    if (index < 0) {
        return index;
    }
    CLEANUP_NETLINK struct netlink netlink;
    int result = netlink_open(&netlink, err);
    if (result < 0) {
        return result;
    }
    struct ifaddrmsg header = {
        .ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)prefix, .ifa_index = (uint32_t)index};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    if (message) {
        nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
        nla_put(message, IFA_LOCAL, sizeof(binary), &binary);
        nla_put(message, IFA_ADDRESS, sizeof(binary), &binary);
    }
    result = netlink_request(&netlink, message);
    if (result < 0) {
        return error_set_errno(err, result, "cannot give %s the address %s/%u", name, address,
                               prefix);
    }
    return 0;
}

/* The knob is in /proc/sys only; a kernel without IPv6 has neither knob nor need. */
void link_disable_ipv6(const char *name)
{
    char path[64 + LINK_NAME_SIZE];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1", 1);
    }
}

static struct nl_msg *rate_message(int index, uint64_t bytes_per_second)
{
    struct rtnl_link *link = rtnl_link_alloc();
    struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();
    struct nl_msg *message = NULL;
    uint64_t bucket = bytes_per_second / BUCKETS_PER_SECOND;
    bucket = bucket < BUCKET_LEAST ? BUCKET_LEAST : bucket;
    if (link && qdisc) {
        rtnl_link_set_ifindex(link, index);
        rtnl_tc_set_link(TC_CAST(qdisc), link);
        rtnl_tc_set_parent(TC_CAST(qdisc), TC_H_ROOT);
        rtnl_tc_set_kind(TC_CAST(qdisc), "tbf");
        rtnl_qdisc_tbf_set_rate(qdisc, (int)bytes_per_second, (int)bucket, 0);
        rtnl_qdisc_tbf_set_limit_by_latency(qdisc, QUEUE_MOST_US);
        rtnl_qdisc_build_add_request(qdisc, NLM_F_CREATE | NLM_F_REPLACE, &message);
    }
    rtnl_qdisc_put(qdisc);
    rtnl_link_put(link);
    return message;
}

static struct nl_msg *no_rate_message(int index)
{
    struct tcmsg header = {.tcm_ifindex = index, .tcm_parent = TC_H_ROOT};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_DELQDISC, 0);
    if (message) {
        nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    }
    return message;
}

int link_limit_rate(const char *name, uint64_t bytes_per_second, struct error *err)
{
    if (bytes_per_second > INT32_MAX) {
        return error_set(err, EINVAL, "the rate of %s can be limited to at most 2 GiB a second",
                         name);
    }
    int index = link_index(name, err);
    if (index < 0) {
        return index;
    }
    CLEANUP_NETLINK struct netlink netlink;
    int result = netlink_open(&netlink, err);
    if (result < 0) {
        return result;
    }
    result = netlink_request(&netlink, bytes_per_second ? rate_message(index, bytes_per_second)
                                                        : no_rate_message(index));
    if (!bytes_per_second && (result == -ENOENT || result == -EINVAL)) {
        return 0; /* there was no limit */
    }
    if (result < 0) {
        error_set_errno(err, result, "cannot limit the rate of %s", name);
        return error_remedy(err, "the kernel needs the tbf queue (\"modprobe sch_tbf\")");
    }
    return 0;
}
