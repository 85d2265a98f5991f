/* One seed from its beginning to its end: see scenario.h. */
#include "scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "invariants.h"
#include "lanes.h"
#include "link.h"
#include "machine.h"

#define MOVE_ID "00000000-0000-4000-8000-000000000001"
#define MS NANOSECONDS_PER_MILLISECOND

/* What strikes, if anything. */
enum misfortune {
    NOTHING,
    CUT_AT_TIME,
    CUT_AT_BYTE,
    CUT_AT_MOMENT,
    SILENCE_AT_TIME,
    SILENCE_AT_MOMENT,
    CANCEL_AT_TIME,
    CANCEL_AT_MOMENT,
    CANCEL_AT_DESTINATION,
    MACHINE_FAULT,
    SLOW_LOAD,
    SLOW_COMMIT,
    WRONG_TOKEN,
    SPOILT_BYTE,
    FULL_DESTINATION,
    MISFORTUNES
};

static const char *const misfortune_names[MISFORTUNES] = {
    "nothing",           "cut at a time",     "cut at a byte",    "cut at a moment",
    "silence",           "silence at moment", "cancel at a time", "cancel at a moment",
    "cancel over there", "machine fault",     "slow load",        "slow commit",
    "wrong token",       "spoilt byte",       "full destination",
};

struct scenario {
    struct sim_world world;
    struct sim_link link;
    struct sim_lanes lanes;
    struct sim_machine machine;
    enum misfortune misfortune;
    enum sim_moment moment;
    uint64_t cancel_ns[SIM_SIDES];
    struct engine_source_options source_options;
    struct engine_destination_options destination_options;
    struct sim_outcome outcome;
};

static uint64_t now_ns(void *clock)
{
    struct sim_world *world = clock;
    sim_world_tick(world);
    return world->now_ns;
}

static void sleep_ns(void *clock, uint64_t duration_ns)
{
    sim_world_spend(clock, duration_ns);
}

static bool is_cancelled(void *context, enum sim_side side)
{
    struct scenario *scenario = context;
    return scenario->world.now_ns >= scenario->cancel_ns[side];
}

static bool source_cancelled(void *observer)
{
    return is_cancelled(observer, SIM_SOURCE);
}

static bool destination_cancelled(void *observer)
{
    return is_cancelled(observer, SIM_DESTINATION);
}

static void source_progress(void *observer, const struct engine_progress *progress)
{
    struct scenario *scenario = observer;
    sim_world_trace(&scenario->world,
                    "%-10s %5.1f %%  round %u  %" PRIu64 " B/s, dirties %" PRIu64 " B/s",
                    engine_phase_name(progress->phase), progress->fraction * 100, progress->round,
                    progress->rate, progress->dirty_rate);
    sim_check_progress(&scenario->world, &scenario->outcome, progress);
}

static void destination_progress(void *observer, const struct engine_progress *progress)
{
    struct scenario *scenario = observer;
    sim_world_trace(&scenario->world, "%s", engine_phase_name(progress->phase));
}

static void spread_misfortune(struct scenario *scenario);

/* The misfortunes that strike at a moment of the switchover. */
static void at_moment(void *context, enum sim_moment moment)
{
    static const char *const names[] = {"stop",   "stopped", "saved",     "load",
                                        "loaded", "commit",  "committed", "run"};
    struct scenario *scenario = context;
    sim_world_trace(&scenario->world, "* %s", names[moment]);
    if (moment != scenario->moment) {
        return;
    }
    uint64_t soon_ns =
        scenario->world.now_ns + random_between(&scenario->world.random, 0, 2) * MS / 2;
    if (scenario->misfortune == CUT_AT_MOMENT) {
        scenario->link.cut_ns = soon_ns;
        spread_misfortune(scenario);
    } else if (scenario->misfortune == SILENCE_AT_MOMENT) {
        scenario->link.silent_ns = soon_ns;
        spread_misfortune(scenario);
    } else if (scenario->misfortune == CANCEL_AT_MOMENT) {
        scenario->cancel_ns[SIM_SOURCE] = soon_ns;
    }
}

static void run_source(void *context)
{
    struct scenario *scenario = context;
    struct sim_end end = {&scenario->link, SIM_SOURCE};
    struct engine_channel channel = sim_link_channel(&end);
    struct engine_source_guest guest = sim_machine_source(&scenario->machine);
    struct engine_ownership ownership = sim_machine_ownership(&scenario->machine);
    struct engine_clock clock = {now_ns, sleep_ns, &scenario->world};
    struct engine_observer observer = {source_progress, source_cancelled, scenario};
    struct sim_outcome *outcome = &scenario->outcome;
    outcome->source = engine_source_run(&scenario->source_options, &guest, &channel,
                                        &scenario->lanes.source, &clock, &ownership, &observer,
                                        &outcome->statistics, &outcome->source_error);
    outcome->source_end_ns = scenario->world.now_ns;
    sim_world_trace(&scenario->world, "ends: %d %s", (int)outcome->source,
                    outcome->source_error.message);
    sim_link_close(&scenario->link, SIM_SOURCE);
    sim_lanes_close_source(&scenario->lanes);
}

static void run_destination(void *context)
{
    struct scenario *scenario = context;
    struct sim_end end = {&scenario->link, SIM_DESTINATION};
    struct engine_channel channel = sim_link_channel(&end);
    struct engine_destination_guest guest = sim_machine_destination(&scenario->machine);
    scenario->lanes.guest = &guest;
    struct engine_ownership ownership = sim_machine_ownership(&scenario->machine);
    struct engine_clock clock = {now_ns, sleep_ns, &scenario->world};
    struct engine_observer observer = {destination_progress, destination_cancelled, scenario};
    struct sim_outcome *outcome = &scenario->outcome;
    outcome->destination = engine_destination_run(
        &scenario->destination_options, &guest, &channel, &scenario->lanes.destination, &clock,
        &ownership, &observer, &outcome->destination_statistics, &outcome->destination_error);
    sim_world_trace(&scenario->world, "ends: %d %s", (int)outcome->destination,
                    outcome->destination_error.message);
    sim_link_close(&scenario->link, SIM_DESTINATION);
    sim_lanes_close_destination(&scenario->lanes);
}

static void make_machine(struct scenario *scenario)
{
    struct random *random = &scenario->world.random;
    struct sim_machine *machine = &scenario->machine;
    sim_machine_init(machine, &scenario->world, random_scale(random, 1, 300));
    sim_machine_populate(machine);
    if (!random_once_in(random, 4)) {
        machine->write_interval_ns = random_scale(random, 30e3, 50e6);
    }
    machine->hot_pages = random_between(random, 1, machine->pages);
    machine->calm_every_ns = random_once_in(random, 2) ? random_scale(random, 5e6, 500e6) : 0;
    machine->gives_back = random_once_in(random, 2);
    machine->can_pace = !random_once_in(random, 4);
    machine->state_length = random_between(random, 1, SIM_STATE_MOST);
    machine->early_length = random_between(random, 0, machine->state_length);
    for (size_t i = 0; i < machine->state_length; i++) {
        machine->state[i] = (uint8_t)random_next(random);
    }
    machine->stop_ns = random_scale(random, 1e4, 5e6);
    machine->save_ns = random_scale(random, 1e4, 20e6);
    machine->load_ns = random_scale(random, 1e4, 20e6);
    machine->run_ns = random_scale(random, 1e4, 5e6);
    machine->commit_ns = random_scale(random, 1e4, 20e6);
    machine->dirtied_by_saving = random_between(random, 0, random_once_in(random, 8) ? 40 : 3);
    machine->moment = at_moment;
    machine->scenario = scenario;
}

static void draw_link(struct scenario *scenario, struct sim_link *link)
{
    struct random *random = &scenario->world.random;
    link->rate = random_scale(random, 2e5, 2e9);
    link->delay_ns = random_scale(random, 1e3, 50e6);
    link->cancelled = is_cancelled;
    link->observer = scenario;
    link->file = scenario->machine.memory;
}

static void make_link(struct scenario *scenario)
{
    uint64_t room = random_scale(&scenario->world.random, 4096, 1 << 20);
    sim_link_init(&scenario->link, &scenario->world, room);
    draw_link(scenario, &scenario->link);
}

static void make_lanes(struct scenario *scenario)
{
    struct random *random = &scenario->world.random;
    sim_lanes_init(&scenario->lanes, &scenario->world, random_scale(random, 4096, 1 << 20));
    scenario->lanes.source.batch_pages = random_between(random, 1, 40);
    scenario->lanes.source.worth_pages = random_between(random, 0, 100);
    for (unsigned i = 0; i < SIM_LANES; i++) {
        draw_link(scenario, &scenario->lanes.lane[i].link);
    }
}

/* What struck the first connection strikes another instead, or all of them. */
static void spread_misfortune(struct scenario *scenario)
{
    struct random *random = &scenario->world.random;
    const struct sim_link *first = &scenario->link;
    bool all = random_once_in(random, 2);
    for (unsigned i = 0; i < SIM_LANES; i++) {
        struct sim_link *link = &scenario->lanes.lane[i].link;
        if (all || random_once_in(random, 3)) {
            link->cut_ns = first->cut_ns;
            link->cut_bytes = first->cut_bytes;
            link->silent_ns = first->silent_ns;
            link->spoil_byte = first->spoil_byte;
            link->full_bytes = first->full_bytes;
        }
    }
}

static void make_options(struct scenario *scenario)
{
    struct random *random = &scenario->world.random;
    struct engine_source_options *options = &scenario->source_options;
    *options =
        (struct engine_source_options){.token = "the secret of this move",
                                       .move_id = MOVE_ID,
                                       .blackout_target_ns = random_scale(random, 1e6, 200e6),
                                       .timeout_ns = random_scale(random, 100e6, 4e9)};
    options->channels = (unsigned)random_between(random, 1, 1 + SIM_LANES);
    options->compress = random_once_in(random, 2);
    options->device_state_ns = random_between(random, 0, options->blackout_target_ns * 9 / 8);
    options->pace = random_once_in(random, 2);
    options->on_timeout =
        random_once_in(random, 2) ? ENGINE_ON_TIMEOUT_STOP : ENGINE_ON_TIMEOUT_ABORT;
    if (random_once_in(random, 6)) {
        options->bandwidth_limit = random_scale(random, 1e5, 1e9);
    }
    scenario->destination_options = (struct engine_destination_options){
        .move_id = MOVE_ID,
        .channels_most = (unsigned)random_between(random, 1, 1 + SIM_LANES),
        .silence_limit_ns = random_scale(random, 3e9, 30e9)};
    memcpy(scenario->destination_options.token, options->token, ENGINE_TOKEN_SIZE);
}

static void make_misfortune(struct scenario *scenario)
{
    struct random *random = &scenario->world.random;
    struct sim_link *link = &scenario->link;
    uint64_t time_ns = scenario->world.now_ns + random_scale(random, 1e4, 2e9);
    uint64_t bytes = random_scale(random, 1, 2e6);
    scenario->misfortune = (enum misfortune)random_between(random, 0, MISFORTUNES - 1);
    scenario->moment = (enum sim_moment)random_between(random, 0, SIM_MOMENTS - 1);
    switch (scenario->misfortune) {
    case CUT_AT_TIME:
        link->cut_ns = time_ns;
        break;
    case CUT_AT_BYTE:
        link->cut_bytes = bytes;
        break;
    case SILENCE_AT_TIME:
        link->silent_ns = time_ns;
        break;
    case CANCEL_AT_TIME:
        scenario->cancel_ns[SIM_SOURCE] = time_ns;
        break;
    case CANCEL_AT_DESTINATION:
        scenario->cancel_ns[SIM_DESTINATION] = time_ns;
        break;
    case MACHINE_FAULT:
        scenario->machine.fault = (enum sim_fault)random_between(random, 1, SIM_FAULTS - 1);
        break;
    case SLOW_LOAD:
        scenario->machine.load_ns = random_scale(random, 1e9, 60e9);
        break;
    case SLOW_COMMIT:
        scenario->machine.commit_ns = random_scale(random, 1e9, 60e9);
        break;
    case WRONG_TOKEN:
        scenario->source_options.token[random_between(random, 0, ENGINE_TOKEN_SIZE - 1)] ^= 1;
        break;
    case SPOILT_BYTE:
        scenario->machine.spoilt = true;
        link->spoil_byte = random_once_in(random, 2) ? random_between(random, 0, 200) : bytes;
        break;
    case FULL_DESTINATION:
        link->full_bytes = bytes;
        break;
    default:
        break;
    }
}

static void describe(const struct scenario *scenario)
{
    const struct sim_machine *machine = &scenario->machine;
    printf("%" PRIu64 " pages, %" PRIu64 " hot, a write each %" PRIu64 " ns, link %" PRIu64
           " B/s with %" PRIu64 " ns, target %" PRIu64 " ns; %s (moment %d, fault %d)\n",
           machine->pages, machine->hot_pages, machine->write_interval_ns, scenario->link.rate,
           scenario->link.delay_ns, scenario->source_options.blackout_target_ns,
           misfortune_names[scenario->misfortune], (int)scenario->moment, (int)machine->fault);
}

static void check(struct scenario *scenario)
{
    const struct sim_expectation expectation = {
        .faithful = !scenario->machine.spoilt,
        .undisturbed = scenario->misfortune == NOTHING,
        .cancel_ns = scenario->cancel_ns[SIM_SOURCE],
        .options = &scenario->source_options,
    };
    sim_check_end(&scenario->world, &scenario->machine, &scenario->outcome, &expectation);
}

enum sim_result sim_scenario_run(uint64_t seed, bool trace, char *failure, size_t size)
{
    struct scenario scenario = {.cancel_ns = {SIM_NEVER, SIM_NEVER}};
    sim_world_init(&scenario.world, seed);
    make_machine(&scenario);
    make_link(&scenario);
    make_lanes(&scenario);
    make_options(&scenario);
    make_misfortune(&scenario);
    spread_misfortune(&scenario);
    scenario.world.live = sim_machine_live;
    scenario.world.guest = &scenario.machine;
    scenario.world.trace = trace;
    if (trace) {
        describe(&scenario);
    }
    sim_world_start(&scenario.world, SIM_SOURCE, run_source, &scenario);
    sim_world_start(&scenario.world, SIM_DESTINATION, run_destination, &scenario);
    sim_world_run(&scenario.world);
    if (!scenario.world.failure[0]) {
        check(&scenario);
    }
    snprintf(failure, size, "%s (%s)", scenario.world.failure,
             misfortune_names[scenario.misfortune]);
    enum sim_result result = scenario.world.failure[0]    ? SIM_BROKEN
                             : scenario.machine.committed ? SIM_MOVED
                                                          : SIM_STAYED;
    sim_lanes_done(&scenario.lanes);
    sim_link_done(&scenario.link);
    sim_machine_done(&scenario.machine);
    sim_world_done(&scenario.world);
    return result;
}
