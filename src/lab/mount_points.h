/*
 * Folders of the machine's own tree upon which nodes mount theirs, so that each node finds its
 * files at Drover's default paths. Those that are missing are made with the first lab and go with
 * the last. The caller holds the lock of LAB_CONTROL_ROOT.
 */
#pragma once

#include "base/error.h"

#define MOUNT_POINT_CONFIGURATION "/etc/drover"
#define MOUNT_POINT_STATE "/var/lib/drover"
#define MOUNT_POINT_RUN "/run/drover"
#define MOUNT_POINT_DATASTORES "/datastores"

/* Idempotent. */
int mount_points_make(struct error *err);

/* Removes those that mount_points_make() made, unless someone has put files there since. */
void mount_points_remove(void);
