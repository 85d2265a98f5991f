/*
 * Pacing: writers wait, so that the guest dirties less than the link carries.
 *
 * Only when rounds alone will not do, or would send more than the memory whose writers had to wait;
 * and only where most of the writing is:
 * units of memory are taken, the hottest first, until the rest of the guest dirties at most a
 * quarter of what the link carries. Those that write to these units then dirty so much that both
 * together come to half of the link: rounds halve, and are soon over. Whoever writes elsewhere, or
 * only reads, does not wait. When rounds do not shrink as they should, the pace is halved, and what
 * else has become hot is taken too; when they shrink faster, it is loosened. It goes on until the
 * guest stands still.
 */
#include "base/clock.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

/* Shares of the rate of the link: one in so many. */
#define LINK_SHARE 2u   /* what writers may dirty, all together */
#define REST_SHARE 4u   /* and those who do not wait */
#define LEAST_SHARE 50u /* no pace is slower */
#define CLOSE_SHARE 32u /* a smaller distance to it is not told from none */

/* Takes hot units until the rest is slow enough; the pace is what is left of the link's share. */
static int choose(struct source *source, struct error *err)
{
    uint64_t rate = source_content_rate(source);
    uint64_t most = source->dirty_per_second < rate ? source->dirty_per_second : rate;
    int result = heat_cover(&source->heat, most / REST_SHARE, &source->pacing.where);
    return result < 0 ? error_set(err, ENOMEM, "no memory to pace the guest's writers") : 0;
}

/* Bytes that rounds would still send if nothing is done: a geometric row. Of writers as fast as the
 * link so much as if it were a little faster: the rate of a short time may deceive. */
static double left_to_send(const struct source *source, uint64_t rate)
{
    double bytes = (double)page_set_count(&source->pending) * ENGINE_PAGE_SIZE;
    uint64_t least = rate / CLOSE_SHARE, dirtied = source->dirty_per_second;
    uint64_t gap = dirtied + least < rate ? rate - dirtied : least;
    return bytes * (double)rate / (double)(gap > 0 ? gap : 1);
}

int source_pace_pays(struct source *source, uint64_t bytes_wasted, struct error *err)
{
    uint64_t rate = source_content_rate(source);
    struct page_set *where = &source->pacing.where;
    if (!source->options->pace || !source->guest->operations->pace ||
        source->pacing.state != PACING_OFF || rate == 0) {
        return 0;
    }
    page_set_clear(where);
    int result = choose(source, err);
    if (result < 0) {
        return result;
    }
    uint64_t price = page_set_count(where) * ENGINE_PAGE_SIZE;
    if (price == 0) {
        return 0; /* nobody writes */
    }
    return (double)bytes_wasted > (double)price * source->wire_share ||
           left_to_send(source, rate) > (double)price;
}

/* Tells the guest; what changed hands is collected at once, to be sent in the next round. */
static int apply(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    int result = guest->operations->pace(guest->guest, &source->pacing.where,
                                         source->pacing.bytes_per_second, err);
    return result < 0 ? result : source_collect(source, err);
}

int source_pace_begin(struct source *source, struct error *err)
{
    struct pacing *pacing = &source->pacing;
    uint64_t share = source_content_rate(source) / LINK_SHARE;
    uint64_t rest = heat_rest(&source->heat, &pacing->where);
    source_undefer(source);
    pacing->state = PACING_ON; /* nothing is deferred from now on */
    pacing->began_ns = source_now(source);
    pacing->bytes_per_second = share - (rest < share / 2 ? rest : share / 2);
    int result = apply(source, err);
    if (result == -EOPNOTSUPP) {
        *err = ERROR_NONE;
        pacing->state = PACING_REFUSED;
        return 0;
    }
    source->progress.paced = true;
    pacing->pages_left = UINT64_MAX;
    return result;
}

static uint64_t slowest(const struct source *source)
{
    return source_content_rate(source) / LEAST_SHARE;
}

bool source_pace_helps(const struct source *source)
{
    return source->pacing.state == PACING_ON && source->pacing.bytes_per_second > slowest(source);
}

static int tighten(struct source *source, struct error *err)
{
    struct pacing *pacing = &source->pacing;
    uint64_t least = slowest(source);
    int result = choose(source, err);
    pacing->bytes_per_second /= 2;
    pacing->bytes_per_second = pacing->bytes_per_second > least ? pacing->bytes_per_second : least;
    return result < 0 ? result : apply(source, err);
}

static int loosen(struct source *source, struct error *err)
{
    struct pacing *pacing = &source->pacing;
    uint64_t most = source_content_rate(source) / LINK_SHARE;
    uint64_t faster = pacing->bytes_per_second + pacing->bytes_per_second / 4;
    pacing->bytes_per_second = faster < most ? faster : most;
    return apply(source, err);
}

int source_pace_adjust(struct source *source, struct error *err)
{
    uint64_t before = source->pacing.pages_left, now = page_set_count(&source->pending);
    int result = 0;
    if (source->pacing.state != PACING_ON) {
        return 0;
    }
    if (before != UINT64_MAX && now > before - before / 4) {
        result = tighten(source, err);
    } else if (before != UINT64_MAX && now < before / 4) {
        result = loosen(source, err);
    }
    source->pacing.pages_left = now;
    return result;
}

void source_pace_note(struct source *source)
{
    const struct engine_source_guest *guest = source->guest;
    struct engine_statistics *statistics = source->statistics;
    if (source->pacing.state != PACING_ON) {
        return;
    }
    if (statistics->paced_ns == 0) {
        statistics->paced_ns = source_now(source) - source->pacing.began_ns;
    }
    if (guest->operations->waited_ns) {
        statistics->writers_waited_ns = guest->operations->waited_ns(guest->guest);
    }
    source->progress.paced = false;
}
