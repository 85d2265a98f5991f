/* Virtual time and coroutines: see world.h. */
#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define STACK_SIZE (256u * 1024)
#define STEPS_MOST 3000000u

static const char *const task_names[SIM_TASKS] = {"source", "destination", "lane 1", "lane 2"};

void sim_world_init(struct sim_world *world, uint64_t seed)
{
    *world = (struct sim_world){.now_ns = NANOSECONDS_PER_SECOND,
                                .limit_ns = 600 * NANOSECONDS_PER_SECOND,
                                .random = {.state = seed}};
    for (int i = 0; i < SIM_TASKS; i++) {
        world->tasks[i].stack = malloc(STACK_SIZE);
        world->tasks[i].done = true;
    }
}

void sim_world_done(struct sim_world *world)
{
    for (int i = 0; i < SIM_TASKS; i++) {
        free(world->tasks[i].stack);
    }
}

/* makecontext(3) passes only ints. */
static void enter(unsigned high, unsigned low)
{
    struct sim_task *task = (struct sim_task *)(uintptr_t)((uint64_t)high << 32 | low);
    task->function(task->argument);
    task->done = true;
}

void sim_world_start(struct sim_world *world, int number, void (*function)(void *argument),
                     void *argument)
{
    struct sim_task *task = &world->tasks[number];
    uint64_t pointer = (uintptr_t)task;
    task->function = function;
    task->argument = argument;
    task->wake_ns = world->now_ns;
    task->done = false;
    getcontext(&task->context);
    task->context.uc_stack.ss_sp = task->stack;
    task->context.uc_stack.ss_size = STACK_SIZE;
    task->context.uc_link = &world->scheduler;
    makecontext(&task->context, (void (*)(void))enter, 2, (unsigned)(pointer >> 32),
                (unsigned)pointer);
}

static struct sim_task *next_task(struct sim_world *world)
{
    struct sim_task *next = NULL;
    for (int i = 0; i < SIM_TASKS; i++) {
        struct sim_task *task = &world->tasks[i];
        if (!task->done && (!next || task->wake_ns < next->wake_ns)) {
            next = task;
        }
    }
    return next;
}

static void pass_time(struct sim_world *world, uint64_t until_ns)
{
    if (until_ns > world->now_ns) {
        world->now_ns = until_ns;
        world->live(world->guest, until_ns);
    }
}

void sim_world_run(struct sim_world *world)
{
    struct sim_task *task;
    while ((task = next_task(world))) {
        if (task->wake_ns == SIM_NEVER) {
            sim_world_fail(world, "all wait for ever");
            return;
        }
        if (task->wake_ns > world->limit_ns || ++world->steps > STEPS_MOST) {
            sim_world_fail(world, "no end after %" PRIu64 " steps", world->steps);
            return;
        }
        pass_time(world, task->wake_ns);
        world->current = (int)(task - world->tasks);
        swapcontext(&world->scheduler, &task->context);
    }
}

void sim_world_wait(struct sim_world *world, uint64_t until_ns)
{
    struct sim_task *task = &world->tasks[world->current];
    task->wake_ns = until_ns;
    swapcontext(&task->context, &world->scheduler);
}

void sim_world_spend(struct sim_world *world, uint64_t duration_ns)
{
    uint64_t end_ns = world->now_ns + duration_ns;
    while (world->now_ns < end_ns) { /* woken early: goes on */
        sim_world_wait(world, end_ns);
    }
}

void sim_world_wake(struct sim_world *world, int task, uint64_t at_ns)
{
    if (at_ns < world->tasks[task].wake_ns) {
        world->tasks[task].wake_ns = at_ns;
    }
}

void sim_world_tick(struct sim_world *world)
{
    pass_time(world, world->now_ns + 500);
}

void sim_world_fail(struct sim_world *world, const char *format, ...)
{
    va_list arguments;
    if (world->failure[0]) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(world->failure, sizeof(world->failure), format, arguments);
    va_end(arguments);
    sim_world_trace(world, "BROKEN: %s", world->failure);
}

void sim_world_trace(struct sim_world *world, const char *format, ...)
{
    va_list arguments;
    if (!world->trace) {
        return;
    }
    printf("%14.6f ms  %-11s  ", (double)world->now_ns / 1e6 - 1000, task_names[world->current]);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}
