/* A network namespace for the test program alone, and frames in and out of taps and links. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "test.h"

#include "net/tap.h"

#define FRAME_SIZE 60
#define VNET_HEADER_SIZE 10 /* of a tap that QEMU has not changed */

/* Enters a new network namespace, in which all that the tests make lives and dies; where that
 * cannot be, the program says why and ends with 77, which Meson counts as skipped. */
void fixture_private_network(void);

struct fixture_tap {
    char name[TAP_NAME_SIZE];
    int fd;
};

/* A tap with carrier on. */
struct fixture_tap fixture_tap_new(void);

/* A frame from 52:54:00:00:00:`last` to everyone, of a type that nothing answers. */
void fixture_frame(uint8_t frame[FRAME_SIZE], uint8_t last);

/* Sends that frame as a tap's guest. */
void fixture_send(const struct fixture_tap *tap, uint8_t last);

/* Whether that frame comes out of the tap within a time; other frames are read away. */
bool fixture_receives(const struct fixture_tap *tap, uint8_t last, double milliseconds);

/* A packet socket on a link, and the next frame of an Ethernet type that passes there. The socket
 * gives the VLAN apart: *ret_vlan, 0 for an untagged frame. Returns its length, 0 for none. */
int fixture_listen(const char *link, uint16_t type);
size_t fixture_capture(int socket, uint8_t *frame, size_t size, uint16_t *ret_vlan,
                       int milliseconds);

/* Milliseconds of CLOCK_MONOTONIC. */
double fixture_now_ms(void);
