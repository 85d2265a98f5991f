/* A move of a busy guest: see busy_move.h. */
#include "busy_move.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "link.h"
#include "machine.h"

#define WINDOW (256u << 10)
#define DELAY_NS (100 * NANOSECONDS_PER_MICROSECOND)
#define SILENCE_NS (60 * NANOSECONDS_PER_SECOND)
#define STOP_NS (50 * NANOSECONDS_PER_MILLISECOND) /* from the order to stop, to the stop */

struct move {
    struct sim_world world;
    struct sim_link link;
    struct sim_machine machine;
    struct pattern_writer writer;
    struct engine_source_options options;
    struct engine_statistics statistics;
    enum engine_outcome outcome;
    struct error err;
    uint64_t began_ns, stopped_ns;
    uint64_t writes; /* until it stopped */
};

static uint64_t now_ns(void *clock)
{
    sim_world_tick(clock);
    return ((struct sim_world *)clock)->now_ns;
}

static void sleep_ns(void *clock, uint64_t duration_ns)
{
    sim_world_spend(clock, duration_ns);
}

static void progress(void *observer, const struct engine_progress *progress)
{
    sim_world_trace(&((struct move *)observer)->world,
                    "round %u  %" PRIu64 " kB left, %" PRIu64 " kB/s, dirties %" PRIu64 " kB/s%s",
                    progress->round, progress->bytes_remaining / 1000, progress->rate / 1000,
                    progress->dirty_rate / 1000, progress->paced ? ", paced" : "");
}

static void destination_progress(void *observer, const struct engine_progress *progress)
{
    (void)observer, (void)progress;
}

static bool never_cancelled(void *observer)
{
    (void)observer;
    return false;
}

static bool link_never_cancelled(void *observer, enum sim_side side)
{
    (void)observer, (void)side;
    return false;
}

static void at_moment(void *context, enum sim_moment moment)
{
    struct move *move = context;
    if (moment == SIM_MOMENT_STOPPED) {
        move->writes = move->machine.writes;
        move->stopped_ns = move->world.now_ns;
    }
}

static uint64_t choose(struct sim_machine *machine)
{
    return pattern_next_page(&((struct move *)machine->scenario)->writer);
}

static void run_source(void *context)
{
    struct move *move = context;
    struct sim_end end = {&move->link, SIM_SOURCE};
    struct engine_channel channel = sim_link_channel(&end);
    struct engine_source_guest guest = sim_machine_source(&move->machine);
    struct engine_ownership ownership = sim_machine_ownership(&move->machine);
    struct engine_clock clock = {now_ns, sleep_ns, &move->world};
    struct engine_observer observer = {progress, never_cancelled, move};
    move->outcome = engine_source_run(&move->options, &guest, &channel, NULL, &clock, &ownership,
                                      &observer, &move->statistics, &move->err);
    sim_link_close(&move->link, SIM_SOURCE);
}

static void run_destination(void *context)
{
    struct move *move = context;
    struct sim_end end = {&move->link, SIM_DESTINATION};
    struct engine_channel channel = sim_link_channel(&end);
    struct engine_destination_guest guest = sim_machine_destination(&move->machine);
    struct engine_ownership ownership = sim_machine_ownership(&move->machine);
    struct engine_clock clock = {now_ns, sleep_ns, &move->world};
    struct engine_observer observer = {destination_progress, never_cancelled, move};
    struct engine_destination_options options = {.token = "secret", .silence_limit_ns = SILENCE_NS};
    struct engine_destination_statistics statistics;
    struct error err = ERROR_NONE;
    memcpy(options.move_id, move->options.move_id, sizeof(options.move_id));
    engine_destination_run(&options, &guest, &channel, NULL, &clock, &ownership, &observer,
                           &statistics, &err);
    sim_link_close(&move->link, SIM_DESTINATION);
}

static void make(struct move *move, const struct busy_guest *guest)
{
    struct sim_machine *machine = &move->machine;
    sim_world_init(&move->world, 1);
    move->world.trace = guest->trace;
    sim_machine_init(machine, &move->world, guest->pages);
    for (uint64_t page = 0; page < guest->pages; page++) {
        memset(machine->memory + page * ENGINE_PAGE_SIZE, 1 + (int)(page % 255), 8);
    }
    page_set_add(&machine->populated, (struct page_run){0, guest->pages});
    move->writer = (struct pattern_writer){.pattern = guest->pattern,
                                           .pages = guest->pages,
                                           .position = guest->pages / 3,
                                           .random = {.state = 7}};
    machine->choose = choose;
    machine->write_interval_ns = (uint64_t)(NANOSECONDS_PER_SECOND / guest->write_rate);
    machine->collects_stretches = guest->collects_stretches;
    machine->can_pace = true;
    machine->state_length = machine->early_length = 1000;
    machine->save_ns = machine->load_ns = guest->state_ns / 2;
    machine->stop_ns = STOP_NS;
    machine->moment = at_moment;
    machine->scenario = move;
    sim_link_init(&move->link, &move->world, WINDOW);
    move->link.rate = guest->link_rate;
    move->link.delay_ns = DELAY_NS;
    move->link.cancelled = link_never_cancelled;
    move->link.file = machine->memory;
    move->options =
        (struct engine_source_options){.token = "secret",
                                       .move_id = "00000000-0000-4000-8000-000000000001",
                                       .blackout_target_ns = guest->target_ns,
                                       .timeout_ns = guest->limit_ns,
                                       .pace = guest->pace,
                                       .device_state_ns = guest->state_ns};
}

static void judge(struct move *move, struct busy_result *result)
{
    const struct sim_machine *machine = &move->machine;
    uint64_t stopped_ns = move->stopped_ns ? move->stopped_ns : move->world.now_ns;
    uint64_t writes = move->stopped_ns ? move->writes : machine->writes;
    result->until_stop_ns = stopped_ns - move->began_ns;
    double due = (double)result->until_stop_ns / (double)machine->write_interval_ns;
    result->moved = move->outcome == ENGINE_OUTCOME_MOVED;
    result->statistics = move->statistics;
    result->bytes = move->statistics.bytes_sent;
    result->writes_lost = (double)writes < due ? 1 - (double)writes / due : 0;
    if (result->moved &&
        memcmp(machine->memory, machine->shadow, machine->pages * ENGINE_PAGE_SIZE) != 0) {
        sim_world_fail(&move->world, "memory is not what it was");
    }
    if (!result->moved && move->err.code != ETIMEDOUT) {
        sim_world_fail(&move->world, "%.400s", move->err.message);
    }
    snprintf(result->failure, sizeof(result->failure), "%s", move->world.failure);
}

void busy_move_run(const struct busy_guest *guest, struct busy_result *ret_result)
{
    struct move move = {.err = ERROR_NONE};
    *ret_result = (struct busy_result){0};
    make(&move, guest);
    move.world.live = sim_machine_live;
    move.world.guest = &move.machine;
    move.began_ns = move.world.now_ns;
    sim_world_start(&move.world, SIM_SOURCE, run_source, &move);
    sim_world_start(&move.world, SIM_DESTINATION, run_destination, &move);
    sim_world_run(&move.world);
    judge(&move, ret_result);
    sim_link_done(&move.link);
    sim_machine_done(&move.machine);
    sim_world_done(&move.world);
}
