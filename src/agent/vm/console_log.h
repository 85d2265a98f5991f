/*
 * What a guest wrote on its serial port, in a file that QEMU appends to. A guest can write for
 * ever, and the file is on the file system that also has the agent's journals: so once a second
 * what has become long is cut to its end.
 */
#pragma once

#include <uv.h>

#include "agent/agent.h"

#define CONSOLE_LOG_BYTES_MOST ((size_t)1 << 20)   /* then it is cut, */
#define CONSOLE_LOG_BYTES_KEPT ((size_t)256 << 10) /* to so much */

/* Looks after the logs of all VMs on this host while the loop runs; so long `timer` must live. */
int console_log_watch(uv_loop_t *loop, uv_timer_t *timer, struct agent *agent, struct error *err);

/* Cuts one file where it is too long; whoever appends to it goes on. One that is not there is fine,
 * and what is no regular file is left alone: the folder is the VM's. */
int console_log_cut(const char *path, struct error *err);
