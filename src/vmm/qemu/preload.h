/* What qemu_start() and the library that it preloads into QEMU agree on. */
#pragma once

/* The userfaultfd that the preload library makes is always this descriptor in QEMU. */
#define QEMU_USERFAULTFD 900

/* Names the inherited descriptor of /dev/userfaultfd. */
#define PRELOAD_DEVICE_VARIABLE "DROVER_USERFAULTFD_DEVICE"
