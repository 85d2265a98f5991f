/* Netlink conversations: see netlink.h. */
#include "net/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static int keep_kernel_error(struct sockaddr_nl *address, struct nlmsgerr *answer, void *context)
{
    struct netlink *netlink = context;
    (void)address;
    netlink->code = -answer->error;
    netlink->acknowledged = true;
    return NL_STOP;
}

static int note_acknowledgement(struct nl_msg *message, void *context)
{
    struct netlink *netlink = context;
    (void)message;
    netlink->acknowledged = true;
    return NL_STOP;
}

int netlink_open(struct netlink *netlink, struct error *err)
{
    netlink->code = 0;
    netlink->socket = nl_socket_alloc();
    if (!netlink->socket) {
        return error_set_errno(err, ENOMEM, "cannot talk to the kernel about network links");
    }
    int result = nl_connect(netlink->socket, NETLINK_ROUTE);
    if (result < 0) {
        netlink_done(netlink);
        return error_set(err, EIO, "cannot talk to the kernel about network links: %s",
                         nl_geterror(result));
    }
    struct nl_cb *callbacks = nl_socket_get_cb(netlink->socket);
    nl_cb_err(callbacks, NL_CB_CUSTOM, keep_kernel_error, netlink);
    nl_cb_set(callbacks, NL_CB_ACK, NL_CB_CUSTOM, note_acknowledgement, netlink);
    nl_cb_put(callbacks);
    return 0;
}

void netlink_done(struct netlink *netlink)
{
    if (netlink->socket) {
        nl_socket_free(netlink->socket);
        netlink->socket = NULL;
    }
}

struct nl_msg *netlink_link_message(int type, int flags, int family, int index)
{
    struct ifinfomsg header = {.ifi_family = (unsigned char)family, .ifi_index = index};
    struct nl_msg *message = nlmsg_alloc_simple(type, flags);
    if (message && nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO) < 0) {
        nlmsg_free(message);
        return NULL;
    }
    return message;
}

/* What became of the request, once libnl has returned `result`. */
static int outcome(const struct netlink *netlink, int result)
{
    if (netlink->code) {
        return -netlink->code;
    }
    return result < 0 ? -EIO : 0;
}

int netlink_request(struct netlink *netlink, struct nl_msg *message)
{
    return netlink_exchange(netlink, message, NULL, NULL);
}

struct answer_reader {
    netlink_parse_function *parse;
    void *context;
};

static int read_answer(struct nl_msg *message, void *context)
{
    const struct answer_reader *reader = context;
    if (reader->parse) {
        reader->parse(nlmsg_hdr(message), reader->context);
    }
    return NL_OK;
}

/* Every request asks for an acknowledgement: it ends the exchange, after the answers. */
int netlink_exchange(struct netlink *netlink, struct nl_msg *message, netlink_parse_function *parse,
                     void *context)
{
    if (!message) {
        return -ENOMEM;
    }
    struct answer_reader reader = {parse, context};
    netlink->code = 0;
    netlink->acknowledged = false;
    nl_socket_modify_cb(netlink->socket, NL_CB_VALID, NL_CB_CUSTOM, read_answer, &reader);
    int result = nl_send_auto(netlink->socket, message);
    nlmsg_free(message);
    while (result >= 0 && !netlink->acknowledged) {
        result = nl_recvmsgs_default(netlink->socket);
    }
    nl_socket_modify_cb(netlink->socket, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
    return outcome(netlink, result);
}

static void parse_kind(struct nlattr *information, struct netlink_link *link)
{
    struct nlattr *attributes[IFLA_INFO_MAX + 1];
    struct nlattr *bridge[IFLA_BR_MAX + 1];
    if (nla_parse_nested(attributes, IFLA_INFO_MAX, information, NULL) < 0 ||
        !attributes[IFLA_INFO_KIND]) {
        return;
    }
    nla_strlcpy(link->kind, attributes[IFLA_INFO_KIND], sizeof(link->kind));
    if (strcmp(link->kind, "bridge") == 0 && attributes[IFLA_INFO_DATA] &&
        nla_parse_nested(bridge, IFLA_BR_MAX, attributes[IFLA_INFO_DATA], NULL) == 0 &&
        bridge[IFLA_BR_VLAN_FILTERING]) {
        link->vlan_filtering = nla_get_u8(bridge[IFLA_BR_VLAN_FILTERING]);
    }
}

static void parse_link(struct nlmsghdr *header, void *context)
{
    struct netlink_link *link = context;
    struct nlattr *attributes[IFLA_MAX + 1];
    const struct ifinfomsg *information = nlmsg_data(header);
    if (header->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(header, sizeof(*information), attributes, IFLA_MAX, NULL) < 0) {
        return;
    }
    link->index = information->ifi_index;
    link->master = attributes[IFLA_MASTER] ? (int)nla_get_u32(attributes[IFLA_MASTER]) : 0;
    if (attributes[IFLA_LINKINFO]) {
        parse_kind(attributes[IFLA_LINKINFO], link);
    }
}

static int get_link(struct netlink *netlink, struct nl_msg *message, struct netlink_link *ret_link)
{
    struct netlink_link link = {0};
    int result = netlink_exchange(netlink, message, parse_link, &link);
    if (result == 0 && link.index == 0) {
        result = -ENODEV;
    }
    if (result == 0) {
        *ret_link = link;
    }
    return result;
}

int netlink_get_link(struct netlink *netlink, const char *name, struct netlink_link *ret_link)
{
    struct nl_msg *message = netlink_link_message(RTM_GETLINK, 0, AF_UNSPEC, 0);
    if (message) {
        nla_put_string(message, IFLA_IFNAME, name);
    }
    return get_link(netlink, message, ret_link);
}

int netlink_get_link_at(struct netlink *netlink, int index, struct netlink_link *ret_link)
{
    return get_link(netlink, netlink_link_message(RTM_GETLINK, 0, AF_UNSPEC, index), ret_link);
}
