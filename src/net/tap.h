/*
 * Taps: one a NIC, gone with its last descriptor. Carrier is Drover's switch: the destination's tap
 * is without carrier until the guest runs there, the source's from then on. TUNSETCARRIER wants no
 * privilege but the descriptor, so a mover can do it, and agents may crash meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define TAP_NAME_SIZE 16

/* Makes a tap in this network namespace (name: "dv%d" pattern, the kernel picks the number), with
 * virtio-net headers (IFF_VNET_HDR) and no carrier, and brings it up. Returns its descriptor. */
int tap_open(char ret_name[TAP_NAME_SIZE], struct error *err);

/* Unprivileged. */
int tap_set_carrier(int tap_fd, bool carrier, struct error *err);

/* Sends a RARP request for `mac` (6 bytes) into the tap, as if the guest had sent it: every bridge
 * and switch on the way learns the guest's new place, in the VLAN of the tap's port group.
 * Unprivileged. Repeat it: the bridge opens its port up to 2 ms after the carrier comes on, and
 * what is sent before is lost. The frame is the one that QEMU's announce and vMotion send (RFC 903
 * reverse request). */
int tap_announce(int tap_fd, const uint8_t mac[6], struct error *err);

/* "52:54:00:12:34:56" to bytes. */
int mac_parse(const char *text, uint8_t ret_mac[6], struct error *err);
