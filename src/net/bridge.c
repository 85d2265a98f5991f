/*
 * Bridges and port groups: see bridge.h.
 *
 * A bridge that Drover makes filters VLANs from its first moment (where the kernel can; elsewhere,
 * and on bridges of the administrator's that do not filter, access ports tag by themselves:
 * vlan_tagger.h) and speaks no protocol of its own: no spanning tree (a port forwards as soon as it
 * has carrier), no IPv6 of the host's on it. Multicast snooping is off: without a querier in the
 * network it would, after a move, keep groups that the guest joined from following it until the
 * guest reports again; flooding is always right.
 */
#include "net/bridge.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "net/link.h"
#include "net/netlink.h"
#include "net/vlan_tagger.h"

#define VLAN_FIRST 1
#define VLAN_LAST 4094
#define VLAN_DEFAULT 1 /* what the kernel gives to every new port, untagged */

static struct nl_msg *bridge_message(const char *bridge, bool vlan_filtering)
{
    struct nl_msg *message =
        netlink_link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0);
    if (!message) {
        return NULL;
    }
    nla_put_string(message, IFLA_IFNAME, bridge);
    struct nlattr *information = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    if (vlan_filtering) {
        nla_put_u8(message, IFLA_BR_VLAN_FILTERING, 1);
    }
    nla_put_u8(message, IFLA_BR_MCAST_SNOOPING, 0);
    nla_put_u32(message, IFLA_BR_STP_STATE, 0);
    nla_put_u32(message, IFLA_BR_FORWARD_DELAY, 0);
    nla_nest_end(message, data);
    nla_nest_end(message, information);
    return message;
}

static int create_bridge(struct netlink *netlink, const char *bridge, struct error *err)
{
    int result = netlink_request(netlink, bridge_message(bridge, true));
    if (result == -EOPNOTSUPP) { /* a kernel without VLAN filtering: vlan_tagger.h */
        result = netlink_request(netlink, bridge_message(bridge, false));
    }
    if (result == -EEXIST) { /* someone made it in between */
        return 0;
    }
    if (result == 0) {
        link_disable_ipv6(bridge);
        return 0;
    }
    error_set_errno(err, result, "cannot make the bridge %s", bridge);
    if (result == -EOPNOTSUPP) {
        error_remedy(err, "the kernel needs the bridge module (\"modprobe bridge\")");
    }
    return result;
}

/* Finds the bridge, and checks that it is one. */
static int find_bridge(struct netlink *netlink, const char *bridge, struct netlink_link *ret_link,
                       struct error *err)
{
    struct netlink_link link;
    int result = netlink_get_link(netlink, bridge, &link);
    if (result == -ENODEV) {
        error_set(err, ENODEV, "there is no bridge named %s on this host", bridge);
        return error_remedy(err, "name it under \"bridges\" in droverd.json, so that it is made");
    }
    if (result < 0) {
        return error_set_errno(err, result, "cannot look at the bridge %s", bridge);
    }
    if (strcmp(link.kind, "bridge") != 0) {
        error_set(err, EEXIST, "%s exists on this host and is no bridge", bridge);
        return error_remedy(err, "choose another name under \"bridges\" in droverd.json");
    }
    *ret_link = link;
    return 0;
}

/* Makes a link a port of the bridge, unless it is one already. */
static int join(struct netlink *netlink, const char *bridge, int bridge_index, const char *port,
                struct error *err)
{
    struct netlink_link link;
    int result = netlink_get_link(netlink, port, &link);
    if (result == 0 && link.master == bridge_index) {
        return 0;
    }
    if (result == 0 && link.master) {
        error_set(err, EBUSY, "cannot add %s to the bridge %s: it belongs to another", port,
                  bridge);
        return error_remedy(err, "take it out first with \"ip link set %s nomaster\"", port);
    }
    if (result == 0) {
        struct nl_msg *message = netlink_link_message(RTM_NEWLINK, 0, AF_UNSPEC, link.index);
        if (message) {
            nla_put_u32(message, IFLA_MASTER, (uint32_t)bridge_index);
        }
        result = netlink_request(netlink, message);
    }
    if (result < 0) {
        return error_set_errno(err, result, "cannot add %s to the bridge %s", port, bridge);
    }
    return 0;
}

static int change_vlan(struct netlink *netlink, int type, int port, uint16_t vlan, uint16_t flags)
{
    struct bridge_vlan_info information = {.flags = flags, .vid = vlan};
    struct nl_msg *message = netlink_link_message(type, 0, AF_BRIDGE, port);
    if (message) {
        struct nlattr *specification = nla_nest_start(message, IFLA_AF_SPEC);
        nla_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof(information), &information);
        nla_nest_end(message, specification);
    }
    return netlink_request(netlink, message);
}

static int check_vlan(uint16_t vlan, struct error *err)
{
    if (vlan < VLAN_FIRST || vlan > VLAN_LAST) {
        error_set(err, EINVAL, "%u is not a VLAN", vlan);
        return error_remedy(err, "choose one from %d to %d", VLAN_FIRST, VLAN_LAST);
    }
    return 0;
}

int bridge_ensure(const char *bridge, const char *uplink, struct error *err)
{
    CLEANUP_NETLINK struct netlink netlink;
    struct netlink_link link;
    int result = netlink_open(&netlink, err);
    if (result < 0) {
        return result;
    }
    if (netlink_get_link(&netlink, bridge, &link) == -ENODEV) {
        result = create_bridge(&netlink, bridge, err);
    }
    if (result == 0) {
        result = find_bridge(&netlink, bridge, &link, err);
    }
    if (result == 0) {
        result = link_set_up(bridge, true, err);
    }
    if (result < 0 || !uplink) {
        return result;
    }
    result = join(&netlink, bridge, link.index, uplink, err);
    return result < 0 ? result : link_set_up(uplink, true, err);
}

/* The bridge that a port belongs to. */
static int find_bridge_of(struct netlink *netlink, const char *port, int *ret_port_index,
                          struct netlink_link *ret_bridge, struct error *err)
{
    struct netlink_link link;
    int result = link_index(port, err);
    if (result < 0) {
        return result;
    }
    result = netlink_get_link(netlink, port, &link);
    if (result == 0) {
        result = link.master ? netlink_get_link_at(netlink, link.master, ret_bridge) : -ENODEV;
    }
    if (result < 0) {
        error_set(err, EINVAL, "%s is not a port of a bridge", port);
        return error_remedy(err, "name it as \"uplink\" of its bridge in droverd.json");
    }
    *ret_port_index = link.index;
    return 0;
}

int bridge_allow_vlan(const char *port, uint16_t vlan, struct error *err)
{
    CLEANUP_NETLINK struct netlink netlink = {0};
    struct netlink_link bridge;
    int index = 0;
    int result = check_vlan(vlan, err);
    if (result < 0 || (result = netlink_open(&netlink, err)) < 0 ||
        (result = find_bridge_of(&netlink, port, &index, &bridge, err)) < 0) {
        return result;
    }
    if (!bridge.vlan_filtering) { /* passes every tag as it is */
        return 0;
    }
    uint16_t flags = vlan == VLAN_DEFAULT ? BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED : 0;
    result = change_vlan(&netlink, RTM_SETLINK, index, vlan, flags);
    if (result < 0) {
        return error_set_errno(err, result, "cannot let VLAN %u pass on %s", vlan, port);
    }
    return 0;
}

/* The new VLAN first, then the default one goes: never both are a port's own (PVID). */
static int choose_vlan(struct netlink *netlink, int port, uint16_t vlan)
{
    int result = change_vlan(netlink, RTM_SETLINK, port, vlan,
                             BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED);
    if (result < 0 || vlan == VLAN_DEFAULT) {
        return result;
    }
    result = change_vlan(netlink, RTM_DELLINK, port, VLAN_DEFAULT, 0);
    return result == -ENOENT ? 0 : result;
}

/* Where tags are ours to make, they are in place before the port joins: it is never in no VLAN. */
static int add_access_port(struct netlink *netlink, const struct port_group *group,
                           const char *port, struct error *err)
{
    struct netlink_link bridge;
    int index = link_index(port, err);
    int result = index < 0 ? index : find_bridge(netlink, group->bridge, &bridge, err);
    if (result < 0) {
        return result;
    }
    if (!bridge.vlan_filtering) {
        result = vlan_tagger_install(netlink, index, group->vlan);
    }
    if (result == 0) {
        int joined = join(netlink, group->bridge, bridge.index, port, err);
        if (joined < 0) {
            return joined;
        }
    }
    if (result == 0 && bridge.vlan_filtering) {
        result = choose_vlan(netlink, index, group->vlan);
    }
    if (result < 0) {
        error_set_errno(err, result, "cannot put %s into VLAN %u of %s", port, group->vlan,
                        group->bridge);
    }
    if (result < 0 && !bridge.vlan_filtering) {
        error_remedy(err, "the bridge does not filter VLANs, and the kernel lacks BPF classifiers "
                          "(cls_bpf) or the privilege for them (root)");
    }
    return result;
}

int bridge_attach(const struct port_group *group, const char *tap_name, struct error *err)
{
    CLEANUP_NETLINK struct netlink netlink = {0};
    int result = check_vlan(group->vlan, err);
    if (result == 0) {
        result = netlink_open(&netlink, err);
    }
    if (result == 0) {
        result = add_access_port(&netlink, group, tap_name, err);
    }
    if (result < 0) {
        error_wrap(err, "port group %s", group->name);
    }
    return result;
}

bool bridge_exists(const char *bridge)
{
    CLEANUP_NETLINK struct netlink netlink;
    struct netlink_link link;
    return netlink_open(&netlink, NULL) == 0 && netlink_get_link(&netlink, bridge, &link) == 0 &&
           strcmp(link.kind, "bridge") == 0;
}
