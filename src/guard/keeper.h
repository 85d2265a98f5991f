/*
 * One datastore, kept: a thread proves on it, heartbeat by heartbeat, that this host lives, and
 * after each proof moves the datastore's deadline on (base/deadline.h). A datastore that hangs
 * holds up nobody but its own thread; whether a deadline has passed is told without it.
 *
 * Rules. The deadline counts from before the renewal's write began. It is moved on only as long as
 * it has not passed, or when no machine of before runs any more: whoever missed it may have been
 * replaced by a copy elsewhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "guard/instructions.h"

struct keeper;

/* Starts the thread. Everything is copied. */
int keeper_start(const char *run_folder, const struct instructions *instructions,
                 const struct instructions_datastore *datastore, struct keeper **ret_keeper,
                 struct error *err);

/* Tells the thread to end. It ends when its datastore lets it: keeper_has_ended() tells. */
void keeper_end(struct keeper *keeper);
bool keeper_has_ended(struct keeper *keeper);

/* Frees one that has ended; NULL is fine. */
void keeper_free(struct keeper *keeper);

const struct instructions_datastore *keeper_datastore(const struct keeper *keeper);

/* The deadline, in CLOCK_BOOTTIME; UINT64_MAX for a datastore that has none, 0 for one whose first
 * renewal is not done yet. */
uint64_t keeper_deadline(struct keeper *keeper);

/* Time between this datastore's deadline and the moment when others may take over; 0 while it is
 * not known, or for one without deadline. */
uint64_t keeper_margin_ns(struct keeper *keeper);

/* Kills the datastore's machines when its deadline has passed; returns how many still live. */
size_t keeper_enforce(struct keeper *keeper);
