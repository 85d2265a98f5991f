/* The figures of a move: see source_progress.h. */
#include "engine/source_progress.h"

#include "base/clock.h"
#include "base/units.h"

#define TELL_NS (100 * NANOSECONDS_PER_MILLISECOND)
/* From the last collection to the guest's stop. Where that takes long, other collections follow. */
#define STOP_NS (2 * NANOSECONDS_PER_MILLISECOND)
#define KEEP_UP_NS (6 * NANOSECONDS_PER_MILLISECOND)
#define SAMPLE_NS (20 * NANOSECONDS_PER_MILLISECOND)

/* The bar's way: the first round has most of it, each later one half of what is left below the
 * switchover's share. So it only ever grows, however many rounds there will be. */
#define FIRST_ROUND_SHARE 0.90
#define ROUNDS_SHARE 0.98

static void add_round(struct engine_round *sum, const struct engine_round *round)
{
    sum->number = round->number;
    sum->pages_to_send += round->pages_to_send;
    sum->pages_sent += round->pages_sent;
    sum->pages_zero += round->pages_zero;
    sum->bytes_sent += round->bytes_sent;
    sum->duration_ns += round->duration_ns;
    sum->pages_dirtied += round->pages_dirtied;
}

void source_round_record(struct source *source)
{
    struct engine_statistics *statistics = source->statistics;
    if (source->round.number == 0) {
        return;
    }
    uint32_t slot = statistics->round_count++;
    if (slot >= ENGINE_ROUNDS_KEPT) {
        slot = ENGINE_ROUNDS_KEPT - 1;
    }
    add_round(&statistics->rounds[slot], &source->round);
    source->round = (struct engine_round){0};
}

void source_round_open(struct source *source)
{
    uint32_t number = source->progress.round + 1;
    source_round_record(source);
    source->round = (struct engine_round){.number = number};
    source->round_began_ns = source_now(source);
    source->round_bytes_before = source_bytes_sent(source);
    source->round_from = source->progress.fraction;
    source->round_to = number == 1 ? FIRST_ROUND_SHARE
                                   : source->round_from + (ROUNDS_SHARE - source->round_from) / 2;
    source->progress.round = number;
}

static uint64_t bytes_delivered(const struct source *source)
{
    uint64_t queued = source_bytes_queued(source), sent = source_bytes_sent(source);
    return queued < sent ? sent - queued : 0;
}

void source_rate_resume(struct source *source)
{
    rate_resume(&source->rate, source_now(source), source_bytes_sent(source));
}

void source_rate_finish(struct source *source)
{
    rate_sample(&source->rate, source_now(source), source_bytes_sent(source));
}

uint64_t source_content_rate(const struct source *source)
{
    return (uint64_t)((double)rate_per_second(&source->rate) / source->wire_share);
}

uint64_t source_content_ns(const struct source *source, uint64_t bytes)
{
    return rate_duration_ns(&source->rate, (uint64_t)((double)bytes * source->wire_share));
}

static uint64_t add_or_unknown(uint64_t left, uint64_t right)
{
    return left == UINT64_MAX || right == UINT64_MAX ? UINT64_MAX : left + right;
}

uint64_t source_predict_dirtied(const struct source *source, uint64_t duration_ns)
{
    return (uint64_t)((double)source->dirty_per_second * (double)duration_ns /
                      NANOSECONDS_PER_SECOND);
}

uint64_t source_predict_blackout(const struct source *source)
{
    uint64_t collect_ns = source->collect_took_ns;
    uint64_t soon = source_pages_left(source) * ENGINE_PAGE_SIZE +
                    source_predict_dirtied(source, collect_ns + STOP_NS);
    uint64_t late = page_set_count(&source->deferred) * ENGINE_PAGE_SIZE +
                    source_predict_dirtied(source, collect_ns + KEEP_UP_NS);
    uint64_t bytes = soon > late ? soon : late;
    return add_or_unknown(source_content_ns(source, bytes),
                          source->options->device_state_ns + collect_ns);
}

/* A geometric row: while what is left is sent, more is dirtied, and so on. */
static uint64_t estimate_remaining(const struct source *source)
{
    uint64_t rate = source_content_rate(source);
    uint64_t dirtied = source->dirty_per_second;
    if (dirtied >= rate) {
        return UINT64_MAX;
    }
    double seconds = (double)source->progress.bytes_remaining / (double)(rate - dirtied);
    return (uint64_t)(seconds * NANOSECONDS_PER_SECOND) + source->options->device_state_ns;
}

static void update_progress(struct source *source)
{
    struct engine_progress *progress = &source->progress;
    const struct engine_round *round = &source->round;
    const struct engine_lanes *lanes = source->on_lanes ? source->lanes : NULL;
    uint64_t elsewhere = lanes ? lanes->operations->pages_done(lanes->lanes) : 0;
    uint64_t done = round->pages_sent + round->pages_zero + elsewhere;
    if (progress->phase == ENGINE_PHASE_PRECOPY && round->pages_to_send > 0) {
        double part = (double)done / (double)round->pages_to_send;
        double fraction = source->round_from + (source->round_to - source->round_from) * part;
        if (fraction > progress->fraction) { /* a round may grow on its way */
            progress->fraction = fraction;
        }
    }
    progress->bytes_sent = source_bytes_sent(source);
    progress->bytes_remaining =
        done < round->pages_to_send ? (round->pages_to_send - done) * ENGINE_PAGE_SIZE : 0;
    progress->rate = rate_per_second(&source->rate);
    progress->dirty_rate = source->dirty_per_second;
    progress->elapsed_ns = source->started_ns ? source_now(source) - source->started_ns : 0;
    progress->remaining_ns = progress->phase < ENGINE_PHASE_DONE ? estimate_remaining(source) : 0;
}

/* What a guest that sends its memory by itself knows better. */
static void ask_guest(struct source *source)
{
    const struct engine_source_guest *guest = source->guest;
    if (guest->operations->progress &&
        (source->state == SOURCE_STOPPING || source->state == SOURCE_LAST_PASS)) {
        guest->operations->progress(guest->guest, &source->progress);
    }
}

static void tell(struct source *source)
{
    update_progress(source);
    ask_guest(source);
    source->progress_told_ns = source_now(source);
    source->observer->progress(source->observer->observer, &source->progress);
}

void source_progress_phase(struct source *source, enum engine_phase phase)
{
    source->progress.phase = phase;
    if (phase == ENGINE_PHASE_SWITCHOVER) {
        source->progress.fraction = ROUNDS_SHARE;
    } else if (phase == ENGINE_PHASE_DONE) {
        source->progress.fraction = 1.0;
    }
    tell(source);
}

void source_progress_sample(struct source *source)
{
    uint64_t now_ns = source_now(source);
    if (source->round.number > 0 && source->round.duration_ns == 0 &&
        now_ns - source->rate.last_ns >= SAMPLE_NS) {
        rate_sample(&source->rate, now_ns, bytes_delivered(source));
    }
    if (now_ns - source->progress_told_ns >= TELL_NS) {
        tell(source);
    }
}

int source_timeout_error(const struct source *source, struct error *err)
{
    char limit[32], dirtied[32], rate[32], predicted[32], target[32];
    uint64_t predicted_ns = source->progress.predicted_blackout_ns; /* at the last decision */
    units_format_duration(source->options->timeout_ns, limit, sizeof(limit));
    units_format_duration(source->options->blackout_target_ns, target, sizeof(target));
    units_format_size(source->dirty_per_second, dirtied, sizeof(dirtied));
    units_format_size(rate_per_second(&source->rate), rate, sizeof(rate));
    if (predicted_ns == UINT64_MAX) {
        error_set(err, ETIMEDOUT,
                  "the first copy of the memory was not done within %s (the link carries %s/s)",
                  limit, rate);
        return error_remedy(err, "allow the move more time, or a faster link");
    }
    units_format_duration(predicted_ns, predicted, sizeof(predicted));
    error_set(err, ETIMEDOUT,
              "within %s the guest could not be stopped for as little as %s: it dirties %s/s, the "
              "link carries %s/s, the blackout would be %s",
              limit, target, dirtied, rate, predicted);
    return error_remedy(
        err,
        "allow a longer blackout (--blackout %llums), or move it when it is "
        "less busy",
        (unsigned long long)(predicted_ns * 5 / 4 / NANOSECONDS_PER_MILLISECOND + 1));
}
