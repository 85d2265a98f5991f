/* Threads of the preload library's own inside of QEMU. Depends on libc alone. */
#pragma once

/* Starts a small detached thread that takes no signals, for these are QEMU's. 0 or an errno. */
int preload_start_thread(void *(*function)(void *argument), void *argument);
