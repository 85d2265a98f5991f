/* Processes by their user: every VM has one of its own, so whatever runs as it belongs to that VM,
 * also what a crash kept us from writing down. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* Ends all processes of the user, and waits until they are gone. `uid` is never 0. */
int strays_kill(uid_t uid, struct error *err);
