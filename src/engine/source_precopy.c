/*
 * Pre-copy: round upon round while the guest runs, and the decision to switch over.
 *
 * After each round the pages dirtied meanwhile are collected and the blackout is predicted: what
 * they take at the measured rate, the device state, one more collection. At or under the target,
 * pre-copy is over, unless another short round would clearly make the blackout shorter still: the
 * target is what a user bears, not what he asks for. Rounds get shorter as long as the link outruns
 * the guest. When some rounds in a row did not shrink, and writers cannot be paced, more of them
 * are no use: then the source only watches, by collecting at short intervals, until the guest
 * writes so little that a round sent now would leave little enough behind (or a while has passed:
 * then a round is tried anyway). That goes on until the time limit.
 */
#include "base/clock.h"
#include "base/units.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

#define STALLED_ROUNDS 3u
#define STALLED_ROUNDS_MOST 20u /* while the link outruns the guest */
#define WATCH_INTERVAL_NS (50 * NANOSECONDS_PER_MILLISECOND)
#define LONG_ROUND_LOOKS 8u /* looks that such a round takes the time of, at least */
#define WATCH_MOST_NS (1000 * NANOSECONDS_PER_MILLISECOND)
/* Below the target: rounds that are worth their time are soon over. */
#define POLISH_ROUNDS_MOST 8u
#define POLISH_PART_MOST 0.75 /* that a round leaves of what it sent */
#define POLISH_ROUND_NS (200 * NANOSECONDS_PER_MILLISECOND) /* longest of them */
#define POLISH_GAIN_NS (NANOSECONDS_PER_MILLISECOND / 2)    /* least gain of one */

/* Whether rounds still shrink. */
struct convergence {
    uint64_t least_pages; /* dirty after the last round that made progress */
    uint64_t bytes_sent;  /* by then */
    uint32_t stalled;     /* rounds since then */
};

/* Slow progress is progress: several rounds together may have made it. */
static void note_round(struct convergence *convergence, const struct source *source)
{
    uint64_t pages = source->round.pages_dirtied;
    if (pages < convergence->least_pages - convergence->least_pages / 8) {
        convergence->stalled = 0;
        convergence->least_pages = pages;
        convergence->bytes_sent = source_bytes_sent(source);
    } else {
        convergence->stalled++;
    }
}

/* Whether to switch over: the blackout would be short enough, or there is no more time. */
static bool is_over(struct source *source)
{
    uint64_t predicted_ns = source_predict_blackout(source);
    source->progress.predicted_blackout_ns = predicted_ns;
    return source->time_is_up || predicted_ns <= source->options->blackout_target_ns;
}

static int send_round(struct source *source, struct error *err)
{
    source_begin_round(source);
    int result = source_send_pages(source, err);
    if (result == 0) {
        result = source_end_round(source, err);
    }
    if (result == 0) {
        result = source_await_rounds(source, err);
    }
    source->round.duration_ns = source_now(source) - source->round_began_ns;
    if (result == 0) {
        source_rate_finish(source);
    }
    return result;
}

/* How long it takes to send what is pending now. */
static uint64_t pending_ns(const struct source *source)
{
    return source_content_ns(source, page_set_count(&source->pending) * ENGINE_PAGE_SIZE);
}

/* How long it would take to send what the guest dirties in `round_ns`, if it goes on as lately. */
static uint64_t dirtied_ns(const struct source *source, uint64_t round_ns)
{
    return source_content_ns(source, source_predict_dirtied(source, round_ns));
}

static uint64_t deferred_ns(const struct source *source)
{
    return source_content_ns(source, page_set_count(&source->deferred) * ENGINE_PAGE_SIZE);
}

/* Whether a round sent now would leave few enough dirty pages. */
static bool round_would_do(const struct source *source)
{
    uint64_t round_ns = pending_ns(source);
    if (round_ns == UINT64_MAX) {
        return true; /* nothing was ever sent: a round will tell the rate */
    }
    uint64_t blackout_ns = dirtied_ns(source, round_ns) + deferred_ns(source) +
                           source->options->device_state_ns + source->collect_took_ns;
    return blackout_ns <= source->options->blackout_target_ns;
}

/* Whether a round sent now would leave so much less for the blackout that it is worth its time. It
 * leaves the part that the last one left: what was written ahead of its turn there counts in the
 * writers' rate, but is not left behind. */
static bool polish_pays(const struct source *source)
{
    const struct engine_round *last = &source->round;
    uint64_t pages = page_set_count(&source->pending);
    if (last->pages_to_send == 0 || pending_ns(source) > POLISH_ROUND_NS) {
        return false;
    }
    double part = (double)last->pages_dirtied / (double)last->pages_to_send;
    return part < POLISH_PART_MOST &&
           source_content_ns(source, (uint64_t)((double)(pages * ENGINE_PAGE_SIZE) * (1 - part))) >=
               POLISH_GAIN_NS;
}

/* Lets the guest write for a moment. */
static int look(struct source *source, struct error *err)
{
    int result = source_pause(source, WATCH_INTERVAL_NS, err);
    return result < 0 ? result : source_collect(source, err);
}

/* Watches until the guest is calm, or a while has passed. */
static int watch(struct source *source, struct error *err)
{
    uint64_t end_ns = source_now(source) + WATCH_MOST_NS;
    do {
        int result = look(source, err);
        if (result < 0) {
            return result;
        }
    } while (!is_over(source) && !round_would_do(source) && source_now(source) < end_ns);
    return 0;
}

/* Whether a short look is worth its time before a long round: in the last one, as long, who wrote
 * to the same pages again and again seemed slow. */
static bool look_pays(const struct source *source)
{
    const uint64_t long_ns = LONG_ROUND_LOOKS * WATCH_INTERVAL_NS;
    return source->options->pace && source->pacing.state == PACING_OFF &&
           source->round.duration_ns >= long_ns && pending_ns(source) >= long_ns;
}

/* Makes writers wait, if a look at what they do in a short time says so too. */
static int consider_pace(struct source *source, uint64_t bytes_wasted, struct error *err)
{
    int result = source_pace_pays(source, bytes_wasted, err);
    if (result == 0 && look_pays(source)) {
        result = 1;
    }
    if (result <= 0) {
        return result < 0 ? result : source_pace_adjust(source, err);
    }
    result = look(source, err);
    if (result < 0 || is_over(source)) {
        return result;
    }
    result = source_pace_pays(source, bytes_wasted, err);
    return result > 0 ? source_pace_begin(source, err) : result;
}

/* The first round is all there is. Tracking begins before the look, so that nothing is missed. */
static int begin_tracking(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    int result = guest->operations->start_tracking(guest->guest, err);
    if (result < 0) {
        return result;
    }
    source_set_state(source, SOURCE_PRECOPY);
    source->collected_ns = source_now(source);
    source_progress_phase(source, ENGINE_PHASE_PRECOPY);
    return guest->operations->collect_populated(guest->guest, &source->pending, err);
}

/* A target below what the device state takes by itself would be tried for, and missed, for ever. */
static int check_target(const struct source *source, struct error *err)
{
    const struct engine_source_options *options = source->options;
    if (options->device_state_ns <= options->blackout_target_ns) {
        return 0;
    }
    char state[32], target[32];
    units_format_duration(options->device_state_ns, state, sizeof(state));
    units_format_duration(options->blackout_target_ns, target, sizeof(target));
    error_set(err, ENOTSUP,
              "the guest's device state alone takes about %s to save and load, the blackout may be "
              "%s",
              state, target);
    return error_remedy(
        err, "allow a longer blackout (--blackout %llums)",
        (unsigned long long)(options->device_state_ns * 2 / NANOSECONDS_PER_MILLISECOND + 1));
}

/* The target can be kept: shortens the blackout as long as that is quickly done. */
static int polish(struct source *source, struct error *err)
{
    int result = 0;
    for (unsigned i = 0;
         result == 0 && i < POLISH_ROUNDS_MOST && !source->time_is_up && polish_pays(source); i++) {
        result = send_round(source, err);
        if (result == 0) {
            result = source_collect(source, err);
        }
    }
    return result;
}

/* A guest that dirties less than the link carries is worth more rounds, even if they shrink slowly:
 * while one only watches, more becomes dirty. */
static bool rounds_are_no_use(const struct source *source, const struct convergence *convergence)
{
    bool outruns = source->dirty_per_second >= source_content_rate(source);
    if (source_pace_helps(source)) {
        return false;
    }
    return source->round.pages_dirtied == 0 ||
           convergence->stalled >= (outruns ? STALLED_ROUNDS : STALLED_ROUNDS_MOST);
}

/* What to do after a round that did not leave little enough. */
static int think(struct source *source, struct convergence *convergence, struct error *err)
{
    note_round(convergence, source);
    uint64_t bytes_wasted = source_bytes_sent(source) - convergence->bytes_sent;
    enum pacing_state before = source->pacing.state;
    int result = consider_pace(source, bytes_wasted, err);
    if (result == 0 && source->pacing.state != before) {
        *convergence = (struct convergence){.least_pages = UINT64_MAX};
        return 0;
    }
    if (result == 0 && rounds_are_no_use(source, convergence) && !is_over(source)) {
        result = watch(source, err);
    }
    return result;
}

/* Rounds until the predicted blackout is short enough. */
static int converge(struct source *source, struct error *err)
{
    struct convergence convergence = {.least_pages = UINT64_MAX};
    int result = 0;
    do {
        result = send_round(source, err);
        if (result == 0) {
            result = source_collect(source, err);
        }
        if (result == 0 && !is_over(source)) {
            result = think(source, &convergence, err);
        }
    } while (result == 0 && !is_over(source));
    return result;
}

int source_precopy(struct source *source, struct error *err)
{
    int result = check_target(source, err);
    if (result == 0) {
        result = begin_tracking(source, err);
    }
    do {
        if (result == 0) {
            result = converge(source, err);
        }
        if (result == 0) {
            result = polish(source, err);
        }
    } while (result == 0 && !is_over(source));
    return result;
}
