/*
 * The walls around a mover, from inside: after sandbox_leave_files() no file has a name, after
 * sandbox_filter_calls() the kernel takes only the system calls of sandbox_calls.h that its role
 * needs. What the agent has done before that is in base/confine.h.
 *
 * Any other call ends the process, by SIGSYS, before it does anything; where it can, the mover says
 * so in its log first. Threads that are started later are behind the same walls.
 */
#pragma once

#include "base/error.h"
#include "mover/setup.h"

/* Before anything is read. */
int sandbox_leave_files(struct error *err);

/* As soon as the role is known, and before threads are started. Not in a program that was built
 * with a sanitizer, whose run-time asks for more; the log says so. */
int sandbox_filter_calls(enum mover_role role, struct error *err);
