/*
 * All of a host's datastores, kept as the agent's instructions say (instructions.h). A datastore
 * that they name no more is kept as long as machines of it run here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guard/instructions.h"
#include "guard/keeper.h"

/* Those that end slowly, because their datastore hangs, take room beside their successors. */
#define GUARD_KEEPERS_MOST ((size_t)2 * INSTRUCTIONS_DATASTORES_MOST)

struct guard {
    const char *run_folder;
    struct instructions instructions;
    struct keeper *keepers[GUARD_KEEPERS_MOST];
    bool ending[GUARD_KEEPERS_MOST]; /* told to end */
    size_t count;
};

/* Reads the instructions, and starts to keep what is new in them. What cannot be read changes
 * nothing, and is logged. */
void guard_follow_instructions(struct guard *guard);

/* Kills machines whose deadline has passed, and ends the keepers of datastores that are wanted no
 * more. Returns how many machines have outlived their deadline and still live. */
size_t guard_enforce(struct guard *guard);

/* The next deadline that has not passed, in CLOCK_BOOTTIME; UINT64_MAX without one. */
uint64_t guard_next_deadline(struct guard *guard);

/* The shortest time between a deadline and its take-over; 0 while there is none. */
uint64_t guard_margin_ns(struct guard *guard);

/* Ends all keepers, as long as it takes but no longer than `patience_ns`. */
void guard_end(struct guard *guard, uint64_t patience_ns);
