/*
 * One request to the kernel's routing netlink and its answer, over libnl. Private to src/net: what
 * others use is link.h, bridge.h and tap.h. A conversation belongs to the network namespace in
 * which it was opened.
 */
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct netlink {
    struct nl_sock *socket;
    bool acknowledged; /* the last request, with */
    int code;          /* the errno that the kernel gave (libnl's own codes lose it), or 0 */
};

int netlink_open(struct netlink *netlink, struct error *err);
void netlink_done(struct netlink *netlink);
#define CLEANUP_NETLINK __attribute__((cleanup(netlink_done)))

/* A message of `type` about a link: index 0 when it is named by an attribute. NULL without memory.
 */
struct nl_msg *netlink_link_message(int type, int flags, int family, int index);

/* Sends the message, frees it in any case (NULL: -ENOMEM) and waits for the acknowledgement.
 * `exchange` takes answers too: `parse` is called for each. 0 or negative errno. */
typedef void netlink_parse_function(struct nlmsghdr *header, void *context);
int netlink_request(struct netlink *netlink, struct nl_msg *message);
int netlink_exchange(struct netlink *netlink, struct nl_msg *message, netlink_parse_function *parse,
                     void *context);

/* What the kernel says about a link. */
struct netlink_link {
    int index;
    int master;          /* index of the bridge it is a port of; 0: none */
    char kind[16];       /* "bridge", "tun", "veth"; empty for hardware */
    bool vlan_filtering; /* a bridge's */
};

/* -ENODEV when there is no link of that name in this namespace. */
int netlink_get_link(struct netlink *netlink, const char *name, struct netlink_link *ret_link);
int netlink_get_link_at(struct netlink *netlink, int index, struct netlink_link *ret_link);
