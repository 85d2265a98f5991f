/*
 * The watchdog device: hardware that resets this host when nobody tells it in time that all is
 * well. It is told so only while no machine has outlived its deadline. So what no process can do
 * any more (end a machine of a kernel that hangs, or one whose I/O does not come back), it does.
 *
 * Its time limit is the margin between a deadline and its take-over: the last word that all is well
 * came before the deadline, or no machine was left.
 *
 * See Documentation/watchdog/watchdog-api.rst in Linux.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct watchdog {
    int fd;             /* -1: there is none */
    uint64_t timeout_s; /* as set; 0: the device's own */
};

/* Opens the device, which starts to count. */
int watchdog_open(struct watchdog *watchdog, const char *path, struct error *err);

/* Sets the time limit to a margin's whole seconds, at least 1, when it is not set to them already.
 * A device that does not take it keeps its own, which is logged. Without a watchdog: nothing. */
void watchdog_limit(struct watchdog *watchdog, uint64_t margin_ns);

/* All is well. */
void watchdog_pet(const struct watchdog *watchdog);

/* Stops it ("magic close"): for a guard that is asked to end. */
void watchdog_close(struct watchdog *watchdog);
