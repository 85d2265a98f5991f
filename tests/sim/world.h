/*
 * The simulated world: virtual time, and the two sides of a move as coroutines in it.
 *
 * One thread, one seed, one course of events. A side runs until it waits for something; then time
 * jumps to the next moment at which anything can happen. The guest lives between the sides' steps:
 * whenever time passes it writes its memory. The idea of a simulator beside the engine is
 * canonical/raft's (include/raft/fixture.h).
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "random.h"

#define SIM_NEVER UINT64_MAX

enum sim_side { SIM_SOURCE, SIM_DESTINATION, SIM_SIDES };

/* The tasks: the two sides, and the destination's further connections. */
#define SIM_LANES 2
#define SIM_LANE_TASK(lane) (SIM_SIDES + (int)(lane))
#define SIM_TASKS (SIM_SIDES + SIM_LANES)

struct sim_task {
    ucontext_t context;
    void *stack;
    uint64_t wake_ns; /* runs again then, or when woken */
    bool done;
    void (*function)(void *argument);
    void *argument;
};

struct sim_world {
    uint64_t now_ns;
    uint64_t limit_ns; /* a seed that lasts longer has failed */
    uint64_t steps;
    struct random random;
    ucontext_t scheduler;
    struct sim_task tasks[SIM_TASKS];
    int current;
    void (*live)(void *guest, uint64_t until_ns); /* lets the guest live until then */
    void *guest;
    bool trace;
    char failure[512]; /* the first one; empty while all is well */
};

void sim_world_init(struct sim_world *world, uint64_t seed);
void sim_world_done(struct sim_world *world);
void sim_world_start(struct sim_world *world, int task, void (*function)(void *argument),
                     void *argument);
/* Runs all tasks to their end, or to the first failure that leaves no way on. */
void sim_world_run(struct sim_world *world);

/* Called by a task: time passes until then, or until woken. */
void sim_world_wait(struct sim_world *world, uint64_t until_ns);
void sim_world_spend(struct sim_world *world, uint64_t duration_ns);
void sim_world_wake(struct sim_world *world, int task, uint64_t at_ns);
/* A moment of computing passes. */
void sim_world_tick(struct sim_world *world);

/* An invariant was broken; the first one counts. */
void sim_world_fail(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sim_world_trace(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
