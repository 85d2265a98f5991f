/* What must hold: see invariants.h. */
#include "invariants.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

/* A slice of waiting, a frame on a slow link, a stop or a load that must end first. */
#define CANCEL_PROMPT_NS (300 * NANOSECONDS_PER_MILLISECOND)

/* The destination is given up when silent for 30 s, or when not READY 10 s after the last round. */
#define READY_MOST_NS (11 * NANOSECONDS_PER_SECOND)

void sim_check_progress(struct sim_world *world, struct sim_outcome *outcome,
                        const struct engine_progress *progress)
{
    if (!(progress->fraction >= outcome->fraction && progress->fraction <= 1)) {
        sim_world_fail(world, "the fraction went from %f to %f", outcome->fraction,
                       progress->fraction);
    }
    outcome->fraction = progress->fraction;
}

static void expect(struct sim_world *world, bool holds, const char *what)
{
    if (!holds) {
        sim_world_fail(world, "%s", what);
    }
}

/* Who runs is who owns, and nobody else. */
static void check_owner(struct sim_world *world, const struct sim_machine *machine,
                        const struct sim_outcome *outcome)
{
    if (machine->committed) {
        bool failed = machine->fault == SIM_FAULT_RUN;
        expect(world, outcome->source == ENGINE_OUTCOME_MOVED, "committed, but not moved");
        expect(world,
               outcome->destination == (failed ? ENGINE_OUTCOME_STRANDED : ENGINE_OUTCOME_MOVED),
               "committed, but the destination says otherwise");
        expect(world, !machine->source_runs && machine->destination_runs == !failed,
               "committed, but it does not run at the destination alone");
        expect(world, !failed || outcome->source_error.code != 0, "a failed run was not told");
        return;
    }
    bool resume_fails =
        machine->fault == SIM_FAULT_RESUME && outcome->source == ENGINE_OUTCOME_STRANDED;
    expect(world, outcome->source == ENGINE_OUTCOME_STAYED || resume_fails,
           "not committed, but not stayed");
    expect(world, outcome->destination == ENGINE_OUTCOME_STAYED,
           "not committed, but the destination says otherwise");
    expect(world, machine->source_runs == !resume_fails && !machine->destination_runs,
           "not committed, but it does not run at the source alone");
    expect(world,
           outcome->source_error.code != 0 && outcome->source_error.message[0] &&
               outcome->destination_error.code != 0,
           "stayed without a reason");
}

static void check_memory(struct sim_world *world, const struct sim_machine *machine)
{
    for (uint64_t page = 0; page < machine->pages; page++) {
        if (memcmp(machine->memory + page * ENGINE_PAGE_SIZE,
                   machine->shadow + page * ENGINE_PAGE_SIZE, ENGINE_PAGE_SIZE) != 0) {
            sim_world_fail(world, "page %" PRIu64 " is not what it was at the source", page);
            return;
        }
    }
    expect(world, machine->loaded == machine->state_length, "device state is missing");
}

/* At the time limit a round may be cut short. */
static void check_rounds(struct sim_world *world, const struct engine_statistics *statistics,
                         bool moved, const struct engine_source_options *options)
{
    bool may_be_cut = options->on_timeout == ENGINE_ON_TIMEOUT_STOP;
    uint32_t kept =
        statistics->round_count < ENGINE_ROUNDS_KEPT ? statistics->round_count : ENGINE_ROUNDS_KEPT;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < kept; i++) {
        const struct engine_round *round = &statistics->rounds[i];
        bool complete = i + 1 < kept || moved;
        bytes += round->bytes_sent;
        expect(world, round->number == i + 1 || i + 1 == ENGINE_ROUNDS_KEPT, "rounds out of order");
        expect(world, round->pages_sent + round->pages_zero <= round->pages_to_send,
               "a round sent more pages than it had");
        expect(world, !complete || round->pages_sent + round->pages_zero == round->pages_to_send,
               "a round left pages out");
        expect(world,
               options->compress || !complete ||
                   round->bytes_sent >= round->pages_sent * ENGINE_PAGE_SIZE,
               "a round's bytes do not hold its pages");
        bool next_grew = statistics->blackout_ns > 0 || kept == ENGINE_ROUNDS_KEPT;
        bool next_complete = i + 2 < kept || (i + 1 < kept && moved);
        bool next_counts = next_complete && !may_be_cut && (i + 3 < kept || !next_grew);
        expect(world, !next_counts || round->pages_dirtied <= round[1].pages_to_send,
               "a round did not have what the last one left dirty");
    }
    expect(world, bytes <= statistics->bytes_sent, "rounds sent more than all");
}

/* Above the target it switches over only when told to, and no earlier. */
static bool may_exceed_target(const struct engine_statistics *statistics,
                              const struct engine_source_options *options)
{
    bool in_time = statistics->predicted_blackout_ns <= options->blackout_target_ns;
    return in_time || (options->on_timeout == ENGINE_ON_TIMEOUT_STOP &&
                       statistics->total_ns >= options->timeout_ns);
}

static void check_pacing(struct sim_world *world, const struct sim_machine *machine,
                         const struct engine_statistics *statistics)
{
    expect(world, statistics->paced_ns > 0 || statistics->writers_waited_ns == 0,
           "writers waited, but were not paced");
    expect(world, statistics->paced_ns <= statistics->total_ns, "paced beyond the move");
    expect(world, statistics->writers_waited_ns <= machine->waited_ns, "waited more than they did");
    expect(world, !machine->paces, "writers are paced after the move");
}

static void check_statistics(struct sim_world *world, const struct sim_machine *machine,
                             const struct sim_outcome *outcome,
                             const struct sim_expectation *expectation)
{
    const struct engine_statistics *statistics = &outcome->statistics;
    const struct engine_blackout *blackout = &statistics->blackout;
    bool moved = machine->committed;
    check_rounds(world, statistics, moved, expectation->options);
    check_pacing(world, machine, statistics);
    expect(world,
           blackout->last_pass_ns + blackout->save_state_ns + blackout->load_state_ns +
                   blackout->commit_ns + blackout->run_ns ==
               statistics->blackout_ns,
           "the parts are not the blackout");
    expect(world, statistics->blackout_ns <= statistics->total_ns, "a blackout beyond the move");
    expect(world, blackout->load_state_ns < READY_MOST_NS, "READY was awaited for too long");
    if (moved) {
        expect(world, statistics->device_state_bytes == machine->state_length, "state miscounted");
        expect(world, statistics->blackout_ns > 0, "no blackout");
        expect(world, may_exceed_target(statistics, expectation->options),
               "it switched over above the target");
        expect(world, outcome->fraction == 1.0, "done, but the bar is not full");
    }
    if (moved && expectation->undisturbed) {
        expect(world, outcome->destination_statistics.bytes_received == statistics->bytes_sent,
               "the sides count different bytes");
    }
}

static void check_cancel(struct sim_world *world, const struct sim_machine *machine,
                         const struct sim_outcome *outcome,
                         const struct sim_expectation *expectation)
{
    uint64_t cancel_ns = expectation->cancel_ns;
    if (cancel_ns == SIM_NEVER || machine->committed || outcome->source_end_ns <= cancel_ns) {
        return;
    }
    expect(world,
           outcome->source_error.code == ECANCELED ||
               outcome->source_end_ns - cancel_ns < CANCEL_PROMPT_NS,
           "cancelled, but it says otherwise");
    if (outcome->source_end_ns - cancel_ns > CANCEL_PROMPT_NS) {
        sim_world_fail(world, "cancelled, it took %" PRIu64 " ns",
                       outcome->source_end_ns - cancel_ns);
    }
}

void sim_check_end(struct sim_world *world, const struct sim_machine *machine,
                   const struct sim_outcome *outcome, const struct sim_expectation *expectation)
{
    check_owner(world, machine, outcome);
    expect(world, !machine->tracking, "tracking goes on");
    expect(world, !(machine->committed && machine->withdrawn), "two decisions");
    if (machine->committed && expectation->faithful) {
        check_memory(world, machine);
    }
    check_statistics(world, machine, outcome, expectation);
    check_cancel(world, machine, outcome, expectation);
    if (expectation->undisturbed && !machine->committed) {
        expect(world,
               outcome->source_error.code == ETIMEDOUT || outcome->source_error.code == ENOTSUP,
               "nothing went wrong, and yet it failed");
        expect(world, outcome->source_error.remedy[0], "no remedy");
    }
}
