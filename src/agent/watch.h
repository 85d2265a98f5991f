/*
 * Notices when a VM's process ends by itself: the guest powered off, or QEMU died. A thread waits
 * on the pidfds; what it finds it hands to one function, in that thread.
 */
#pragma once

#include "base/error.h"
#include "base/process.h"
#include "base/uuid.h"

struct watch;

/* `ended` is called with the UUID of a VM one of whose processes ended; it looks for itself whether
 * that still matters. */
typedef void watch_function(void *context, const char *uuid);

int watch_start(watch_function *ended, void *context, struct watch **ret_watch, struct error *err);

/* Watches a process until it ends, and reaps it; one that is gone already is reported at once. */
int watch_add(struct watch *watch, const char *uuid, const struct process_identity *process,
              struct error *err);
