/* Userfaultfds of a running QEMU's memory. */
#pragma once

#include "base/error.h"

/* A new userfaultfd of the memory of the QEMU behind `pidfd`, not yet used, of which nobody else
 * holds a descriptor, and which the caller closes: what it makes writers wait for ends with it,
 * whatever happens to its holder. Returns it or -errno: -EBADF when QEMU was started without the
 * preload library that makes it. */
int qemu_userfaultfd_new(int pidfd, struct error *err);
