/*
 * Bridges and port groups, through netlink: a port group is a name for a bridge and a VLAN on it.
 * The bridge filters VLANs; a tap is an access port (PVID, untagged), the uplink carries tags.
 * Where the kernel has no VLAN filtering the access ports see to it, and the uplink passes all.
 *
 * A port opens at once when its tap's carrier comes on; when it goes off, the kernel tells the
 * bridge up to a second later, and until then frames still come out of the tap's descriptor.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct port_group {
    char name[64];
    char bridge[16];
    uint16_t vlan; /* 1 to 4094 */
};

/* Makes the bridge (VLAN filtering, no STP, forward delay 0, no ageing change) when it is missing,
 * up; adds `uplink` (may be NULL) as a trunk port when it is not one yet. Idempotent. */
int bridge_ensure(const char *bridge, const char *uplink, struct error *err);

/* Makes `vlan` pass on the bridge's uplink port (tagged; VLAN 1 untagged). Idempotent; nothing to
 * do where the bridge does not filter. */
int bridge_allow_vlan(const char *port, uint16_t vlan, struct error *err);

/* Puts a tap into the port group's bridge as an access port of its VLAN. */
int bridge_attach(const struct port_group *group, const char *tap_name, struct error *err);

/* Whether the bridge exists. */
bool bridge_exists(const char *bridge);
