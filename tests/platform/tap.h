/* Tap devices and a bridge in a network namespace of our own, by the classic ioctls. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAP_FRAME 60
#define TAP_ETHERTYPE_RARP 0x8035

/*
 * Enters a new network namespace, in which the program's devices live and die. Skips the program if
 * it cannot.
 */
void tap_private_network(void);

/*
 * Makes the tap device `name`, up, without a virtio header. Returns its descriptor, which the
 * caller closes.
 */
int tap_new(const char *name);

/* Makes the bridge `name`, up, with no spanning tree and no delay. */
void tap_bridge_new(const char *name);
void tap_bridge_add(const char *bridge, const char *port);

/* Whether the device itself has carrier (ETHTOOL_GLINK): true to the moment. */
bool tap_has_carrier(const char *name);

/* Whether the rest of the kernel takes it for running (IFF_RUNNING): may lag behind. */
bool tap_is_running(const char *name);

/* Fills `frame` with a broadcast RARP request from the MAC 52:54:00:00:00:`last`. */
void tap_rarp_frame(uint8_t frame[TAP_FRAME], uint8_t last);

/* Waits up to `milliseconds` for that frame to come out of `fd`; other frames are dropped. */
bool tap_expect_rarp(int fd, uint8_t last, double milliseconds);

/* Reads away whatever waits in `fd`. */
void tap_drain(int fd);
