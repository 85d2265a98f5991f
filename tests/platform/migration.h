/* QEMU's half of a move: the device state, with RAM left out. */
#pragma once

#include "qemu.h"

/*
 * Starts migrating into `fd` (a socket), of which QEMU gets a copy. Returns when vCPUs are stopped
 * and QEMU waits before the switchover: the point at which Drover sends the last pages.
 */
void migration_begin(struct qemu *source, int fd);

/* Lets a migration that waits before the switchover save the devices. */
void migration_continue(struct qemu *source);

/* Lets a QEMU started with "-incoming defer" read the stream from `fd`. */
void migration_receive(struct qemu *destination, int fd);

/* Copies the RAM file from one to the other, holes left out. */
void migration_copy_ram(struct qemu *source, struct qemu *destination);

/*
 * Takes a source that waits before its switchover to a running destination: device state over a
 * socket pair, then cont. RAM must be copied by then.
 */
void migration_switch_over(struct qemu *source, struct qemu *destination, int source_end,
                           int destination_end);

/*
 * A whole stopped move up to, but not including, the destination's cont: the source is
 * "postmigrate", the destination has loaded everything.
 */
void migration_transfer(struct qemu *source, struct qemu *destination);
