/* What qemu_start(), the library that it preloads into QEMU, and qemu_userfaultfd_new() agree on.
 */
#pragma once

/* The userfaultfd that the preload library makes is always this descriptor in QEMU. */
#define QEMU_USERFAULTFD 900

/* The asking end of a pair of sockets (SOCK_SEQPACKET) is this one. Whoever sends a message of one
 * byte is sent one back, with a new userfaultfd of QEMU's memory; QEMU closes its own copy right
 * away. */
#define QEMU_USERFAULTFD_MAKER 901

/* Names the inherited descriptor of /dev/userfaultfd. */
#define PRELOAD_DEVICE_VARIABLE "DROVER_USERFAULTFD_DEVICE"

/* The deadline page is this one, from the moment on when QEMU cannot outlive its deadline any more.
 */
#define QEMU_DEADLINE_FD 902

/* "FD,LAPSES": the inherited descriptor of the deadline page, and the lapses that it must show. */
#define PRELOAD_DEADLINE_VARIABLE "DROVER_DEADLINE"
