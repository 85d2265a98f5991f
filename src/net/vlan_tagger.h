/*
 * Access ports where the kernel's bridge knows no VLANs (built without BRIDGE_VLAN_FILTERING, or an
 * administrator's bridge that does not filter): two tiny BPF programs on the port do what the
 * bridge would. What the guest sends gets the tag on its way in, or is dropped when it brings one
 * of its own; what leaves towards the guest must carry the tag, which is taken off, or is dropped.
 * The bridge and its uplink then pass tagged frames on as they are. Private to src/net.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "net/netlink.h"

/* Makes the link of that index an access port of `vlan`; VLAN 1 is untagged, as on a bridge that
 * filters. Idempotent. The programs live and go with the link. 0 or negative errno. */
int vlan_tagger_install(struct netlink *netlink, int link, uint16_t vlan);
