/*
 * Collecting what the guest wrote since the last time, and what it gave back.
 *
 * After each round everything is collected; within a round every stretch once more, right before it
 * is sent. So a page that was written again before its turn came is sent once, as it is then, and
 * a round leaves only what was written behind its back.
 *
 * Pages that are written all the time are deferred: not sent before the guest stands still, nor
 * protected again, which would make each of their next writes a page fault. Now and then they are
 * looked at all the same, to see which have cooled. That is for a set that the blackout has room
 * for; a larger one has to be sent while it is written, or its writers to be paced.
 */
#include "base/clock.h"
#include "engine/source_internal.h"
#include "engine/source_progress.h"

#define HEAT_INTERVAL_NS (5 * NANOSECONDS_PER_MILLISECOND) /* at least */
#define LOOK_EVERY 4u /* collections: the pages that are deferred are looked at too */

uint64_t source_pages_left(const struct source *source)
{
    return page_set_count(&source->pending) + page_set_count(&source->deferred);
}

void source_undefer(struct source *source)
{
    page_set_unite(&source->pending, &source->deferred);
    page_set_clear(&source->deferred);
}

/* How many pages may be deferred: for half of the blackout that is to have. */
static uint64_t deferred_most(const struct source *source)
{
    const struct engine_source_options *options = source->options;
    uint64_t spent_ns = options->device_state_ns + source->collect_took_ns;
    if (source->pacing.state == PACING_ON || spent_ns >= options->blackout_target_ns) {
        return 0;
    }
    double seconds = (double)(options->blackout_target_ns - spent_ns) / NANOSECONDS_PER_SECOND;
    return (uint64_t)(seconds / 2 * (double)source_content_rate(source) / ENGINE_PAGE_SIZE);
}

/* The hot ones of the pages that are to be sent are deferred; those that were and have cooled are
 * sent. */
static void update_deferred(struct source *source)
{
    struct page_set *hot = &source->new_dirty;
    heat_find_hot(&source->heat, hot);
    source_undefer(source);
    page_set_intersect(hot, &source->pending);
    if (page_set_count(hot) > deferred_most(source)) {
        return;
    }
    page_set_unite(&source->deferred, hot);
    page_set_subtract(&source->pending, hot);
}

/* The pages that need not be looked at this time; NULL: none. */
static const struct page_set *choose_skipped(struct source *source)
{
    if (source->state > SOURCE_STOPPING) { /* the guest stands still */
        source_undefer(source);
        return NULL;
    }
    return ++source->collections % LOOK_EVERY == 0 ? NULL : &source->deferred;
}

/* How fast pages become dirty: every page's time was watched without a gap, in one or two pieces.
 */
static void measure_writers(struct source *source, uint64_t now_ns)
{
    uint64_t interval_ns = now_ns - source->collected_ns;
    uint64_t pages = source->pages_written + page_set_count(&source->new_dirty);
    if (interval_ns > 0 && source->state == SOURCE_PRECOPY) {
        double bytes = (double)pages * ENGINE_PAGE_SIZE;
        source->dirty_per_second = (uint64_t)(bytes * NANOSECONDS_PER_SECOND / (double)interval_ns);
    }
    source->pages_written = 0;
    source->collected_ns = now_ns;
}

/* Pages that were skipped are taken as written: that is why they are. */
static void measure_heat(struct source *source, const struct page_set *skipped)
{
    page_set_unite(&source->written, &source->new_dirty);
    if (skipped) {
        page_set_unite(&source->written, skipped);
    }
    uint64_t interval_ns = source->collected_ns - source->heat_told_ns;
    if (interval_ns >= HEAT_INTERVAL_NS) {
        heat_note(&source->heat, &source->written, interval_ns);
        page_set_clear(&source->written);
        source->heat_told_ns = source->collected_ns;
    }
}

static void merge(struct source *source)
{
    page_set_subtract(&source->new_dropped, &source->new_dirty);
    page_set_subtract(&source->new_dropped, &source->deferred);
    page_set_subtract(&source->new_dirty, &source->deferred);
    page_set_subtract(&source->pending, &source->new_dropped);
    page_set_unite(&source->pending, &source->new_dirty);
    page_set_unite(&source->dropped, &source->new_dropped);
    page_set_subtract(&source->dropped, &source->new_dirty);
    page_set_intersect(&source->dropped, &source->delivered);
}

int source_collect(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    const struct page_set *skipped = choose_skipped(source);
    uint64_t began_ns = source_now(source);
    page_set_clear(&source->new_dirty);
    page_set_clear(&source->new_dropped);
    struct page_run all = {0, source->pending.pages};
    int result = guest->operations->collect_dirty(guest->guest, all, skipped, &source->new_dirty,
                                                  &source->new_dropped, err);
    if (result < 0) {
        return result;
    }
    uint64_t now_ns = source_now(source);
    source->collect_took_ns = now_ns - began_ns;
    measure_writers(source, now_ns);
    measure_heat(source, skipped);
    merge(source);
    if (source->state == SOURCE_PRECOPY) {
        update_deferred(source);
    }
    source->round.pages_dirtied =
        page_set_count(&source->pending) + page_set_count(&source->dropped);
    return 0;
}

int source_collect_run(struct source *source, struct page_run within, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    struct page_set *dirty = &source->new_dirty;
    page_set_remove(dirty, within);
    int result = guest->operations->collect_dirty(guest->guest, within, &source->deferred, dirty,
                                                  &source->new_dropped, err);
    if (result < 0) {
        return result;
    }
    page_set_subtract_within(dirty, &source->deferred, within);
    page_set_unite_within(&source->written, dirty, within);
    source->pages_written += page_set_count_within(dirty, within);
    page_set_unite_within(&source->held, dirty, within);
    page_set_intersect_within(&source->held, &source->told_zero, within);
    page_set_subtract_within(dirty, &source->told_zero, within);
    uint64_t before = page_set_count_within(&source->pending, within);
    page_set_unite_within(&source->pending, dirty, within);
    source->round.pages_to_send += page_set_count_within(&source->pending, within) - before;
    return 0;
}
