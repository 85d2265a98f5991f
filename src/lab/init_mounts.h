/* The file system as a node sees it: the machine's, with folders of the node's own mounted into it
 * (folder.h, mount_points.h) and its own /proc and /sys. */
#pragma once

#include "base/error.h"

/* Called by the node's init, in its mount namespace. */
int init_mounts_make(const char *lab_folder, const char *node, struct error *err);

/* Lets go of the terminal and the folder that the init was started with. */
void init_mounts_release_streams(void);
