/* A move played through on paper: see forecast.h. */
#include "engine/forecast.h"

#include "base/clock.h"

#define ROUNDS_MOST 64u
#define STALLED_ROUNDS 3u  /* that did not get shorter: more of them are no use */
#define SHRUNK (7.0 / 8.0) /* of the shortest before it: a round that got shorter */
#define APPROACHES 20u     /* of a round's length */
#define PACED_SHARE 0.5    /* of the link's rate, that paced writers may dirty */
#define PACK_RATE 350e6    /* bytes a second that one core packs with zstd */

/* Below the target rounds go on while each is short and clearly shortens the blackout. */
#define POLISH_ROUNDS_MOST 5u
#define POLISH_ROUND_NS (200e6)
#define POLISH_GAIN_NS (0.5e6)

/* A move under way. Times in ns, sizes in bytes of memory: doubles, for this is estimation. */
struct play {
    const struct engine_sample *sample;
    const struct engine_forecast_terms *terms;
    double rate;  /* bytes of memory a ns */
    double share; /* bytes on the wire, of each byte of memory */
    bool paced;
    double round_ns; /* the latest round's length */
    double left;     /* dirty after it */
    double duration_ns;
    double sent;
    double paced_ns;
    double wanted, granted; /* what paced writers would have dirtied, and what they did */
    uint32_t rounds;
};

/* ---- the working set curve ---- */

struct place {
    double at_ns, bytes;
};

static struct place place_of(const struct engine_sample *sample, uint32_t index)
{
    if (index == 0) {
        return (struct place){0, 0};
    }
    const struct engine_sample_point *point = &sample->points[index - 1];
    return (struct place){(double)point->after_ns, (double)point->bytes};
}

/* W at `at_ns` on the line through two places. */
static double on_line(struct place from, struct place to, double at_ns)
{
    if (to.at_ns <= from.at_ns) {
        return to.bytes;
    }
    return from.bytes + (to.bytes - from.bytes) * (at_ns - from.at_ns) / (to.at_ns - from.at_ns);
}

/* The integral of W over [0, until_ns], and W itself there. */
static double integrate(const struct engine_sample *sample, double until_ns, double *ret_last)
{
    struct place from = {0, 0};
    struct place to = {0, 0};
    double most = (double)sample->memory_bytes;
    double sum = 0;
    for (uint32_t i = 1; i <= sample->point_count && to.at_ns < until_ns; i++) {
        from = place_of(sample, i - 1);
        to = place_of(sample, i);
        double end_ns = to.at_ns < until_ns ? to.at_ns : until_ns;
        double end = on_line(from, to, end_ns);
        sum += (from.bytes + end) / 2 * (end_ns - from.at_ns);
        *ret_last = end;
    }
    if (to.at_ns < until_ns) { /* beyond the last point */
        double end = on_line(from, to, until_ns);
        end = end < most ? end : most;
        sum += (to.bytes + end) / 2 * (until_ns - to.at_ns);
        *ret_last = end;
    }
    return sum;
}

uint64_t engine_sample_dirtied(const struct engine_sample *sample, uint64_t within_ns)
{
    double last = 0;
    integrate(sample, (double)within_ns, &last);
    return (uint64_t)last;
}

uint64_t engine_sample_dirty_rate(const struct engine_sample *sample)
{
    struct place end = place_of(sample, sample->point_count);
    if (end.at_ns <= 0) {
        return 0;
    }
    return end.at_ns >= (double)NANOSECONDS_PER_SECOND
               ? engine_sample_dirtied(sample, NANOSECONDS_PER_SECOND)
               : (uint64_t)(end.bytes * NANOSECONDS_PER_SECOND / end.at_ns);
}

/* ---- rounds ---- */

static double at_most(double value, double most)
{
    return value < most ? value : most;
}

static double at_least(double value, double least)
{
    return value > least ? value : least;
}

/* What was dirtied since they were last collected, of pages for which that was at all times from
 * `from_ns` to `to_ns` ago: the mean of W between the two. */
static double dirtied_since(const struct play *play, double from_ns, double to_ns)
{
    double last = 0;
    double width_ns = to_ns - from_ns;
    double mean = engine_sample_dirtied(play->sample, (uint64_t)to_ns);
    if (width_ns > 1) {
        mean = (integrate(play->sample, to_ns, &last) - integrate(play->sample, from_ns, &last)) /
               width_ns;
    }
    double granted = play->rate * PACED_SHARE * (from_ns + to_ns) / 2;
    return play->paced ? at_most(mean, granted) : at_least(mean, (double)play->sample->hot_bytes);
}

/* How long the next round takes. A page's turn comes as far into it as it came into the round
 * before: so what has to be sent was dirtied within something between the one's length and the
 * other's. That length is approached from below. */
static double next_round_ns(const struct play *play)
{
    double deferred = play->paced ? 0 : (double)play->sample->hot_bytes;
    double next_ns = 0;
    for (uint32_t i = 0; i < APPROACHES; i++) {
        double from_ns = at_most(next_ns, play->round_ns);
        double to_ns = at_least(next_ns, play->round_ns);
        double bytes = at_least(dirtied_since(play, from_ns, to_ns) - deferred, 0);
        next_ns = bytes / play->rate + (double)play->sample->collect_ns;
    }
    return next_ns;
}

/* Paced writers: what they would have dirtied, and what they could. */
static void count_loss(struct play *play)
{
    double wanted = (double)engine_sample_dirtied(play->sample, (uint64_t)play->round_ns);
    play->wanted += wanted;
    play->granted += at_most(wanted, play->rate * PACED_SHARE * play->round_ns);
    play->paced_ns += play->round_ns;
}

static void play_round(struct play *play, double round_ns)
{
    play->round_ns = round_ns;
    play->left = dirtied_since(play, 0, round_ns);
    play->duration_ns += round_ns;
    play->sent += (round_ns - (double)play->sample->collect_ns) * play->rate * play->share;
    play->rounds++;
    if (play->paced) {
        count_loss(play);
    }
}

static double blackout_ns(const struct play *play)
{
    return play->left / play->rate + (double)play->terms->device_state_ns +
           (double)play->sample->collect_ns;
}

static bool is_short(const struct play *play)
{
    return blackout_ns(play) <= (double)play->terms->blackout_target_ns;
}

/* Rounds until the blackout is short enough; false when they stop getting shorter before. */
static bool converge(struct play *play)
{
    double least = play->left;
    for (uint32_t stalled = 0; !is_short(play); least = at_most(least, play->left)) {
        if (stalled >= STALLED_ROUNDS || play->rounds >= ROUNDS_MOST) {
            return false;
        }
        play_round(play, next_round_ns(play));
        stalled = play->left < least * SHRUNK ? 0 : stalled + 1;
    }
    return true;
}

static void polish(struct play *play)
{
    for (uint32_t i = 0; i < POLISH_ROUNDS_MOST && !play->paced; i++) {
        struct play next = *play;
        double before_ns = play->left / play->rate;
        play_round(&next, next_round_ns(play));
        double after_ns = next.left / play->rate;
        if (before_ns > POLISH_ROUND_NS || before_ns < after_ns + POLISH_GAIN_NS ||
            after_ns > before_ns / 2) {
            return;
        }
        *play = next;
    }
}

/* ---- the whole ---- */

/* Packing pays when it gets more memory over than the bare link would. */
static void set_rate(struct play *play)
{
    const struct engine_forecast_terms *terms = play->terms;
    double link = (double)terms->link_rate;
    if (terms->bandwidth_limit > 0) {
        link = at_most(link, (double)terms->bandwidth_limit);
    }
    double packed = at_most(link / play->sample->packed_share, PACK_RATE);
    bool pays = terms->compress && packed > link;
    play->rate = (pays ? packed : link) / (double)NANOSECONDS_PER_SECOND;
    play->share = pays ? play->sample->packed_share : 1;
}

static enum engine_limit limited_by(const struct play *play, bool converged)
{
    const struct engine_forecast_terms *terms = play->terms;
    double fixed_ns = (double)(terms->device_state_ns + play->sample->collect_ns);
    if (fixed_ns > (double)terms->blackout_target_ns) {
        return ENGINE_LIMIT_DEVICE_STATE;
    }
    if (!converged || play->paced) {
        return ENGINE_LIMIT_WRITERS;
    }
    if (play->duration_ns < fixed_ns) {
        return ENGINE_LIMIT_DEVICE_STATE;
    }
    return terms->bandwidth_limit > 0 && terms->bandwidth_limit < terms->link_rate
               ? ENGINE_LIMIT_BANDWIDTH
               : ENGINE_LIMIT_LINK;
}

/* When it ends, given that the rounds come to an end after play->duration_ns, or do not. */
static uint64_t end_of(const struct play *play, bool converged)
{
    uint64_t timeout_ns = play->terms->timeout_ns;
    uint64_t stopped_ns = (uint64_t)blackout_ns(play);
    if (converged && (timeout_ns == 0 || play->duration_ns <= (double)timeout_ns)) {
        return (uint64_t)play->duration_ns + stopped_ns;
    }
    if (timeout_ns == 0) {
        return UINT64_MAX;
    }
    return play->terms->on_timeout == ENGINE_ON_TIMEOUT_STOP ? timeout_ns + stopped_ns : timeout_ns;
}

struct engine_forecast engine_forecast(const struct engine_sample *sample,
                                       const struct engine_forecast_terms *terms)
{
    struct play play = {.sample = sample, .terms = terms};
    set_rate(&play);
    double bytes = (double)sample->populated_bytes * (1 - sample->zero_share);
    play_round(&play, bytes / play.rate + (double)sample->collect_ns);
    bool converged = converge(&play);
    if (!converged && terms->pace) {
        play.paced = true;
        converged = converge(&play);
    }
    if (converged) {
        polish(&play);
    }
    return (struct engine_forecast){
        .keeps_target = converged,
        .keeps_timeout =
            terms->timeout_ns == 0 || (converged && play.duration_ns <= (double)terms->timeout_ns),
        .rounds = play.rounds + 1,
        .duration_ns = end_of(&play, converged),
        .blackout_ns = (uint64_t)blackout_ns(&play),
        .bytes = (uint64_t)(play.sent + play.left * play.share) + terms->device_state_bytes,
        .paced_ns = (uint64_t)play.paced_ns,
        .writing_lost = play.wanted > 0 ? 1 - play.granted / play.wanted : 0,
        .limited_by = limited_by(&play, converged),
    };
}

const char *engine_limit_name(enum engine_limit limit)
{
    static const char *const names[ENGINE_LIMITS] = {
        [ENGINE_LIMIT_LINK] = "link",
        [ENGINE_LIMIT_BANDWIDTH] = "bandwidth limit",
        [ENGINE_LIMIT_WRITERS] = "writers",
        [ENGINE_LIMIT_DEVICE_STATE] = "device state",
    };
    return names[limit];
}
