/*
 * Collecting what the guest wrote since the last time, and what it gave back.
 *
 * After each round everything is collected; within a round every stretch once more, right before it
 * is sent. So a page that was written again before its turn came is sent once, as it is then, and
 * a round leaves only what was written behind its back.
 */
#include "base/clock.h"
#include "engine/source_internal.h"

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

static void merge(struct source *source)
{
    page_set_subtract(&source->new_dropped, &source->new_dirty);
    page_set_subtract(&source->pending, &source->new_dropped);
    page_set_unite(&source->pending, &source->new_dirty);
    page_set_unite(&source->dropped, &source->new_dropped);
    page_set_subtract(&source->dropped, &source->new_dirty);
    page_set_intersect(&source->dropped, &source->delivered);
}

int source_collect(struct source *source, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    uint64_t began_ns = source_now(source);
    page_set_clear(&source->new_dirty);
    page_set_clear(&source->new_dropped);
    struct page_run all = {0, source->pending.pages};
    int result = guest->operations->collect_dirty(guest->guest, all, NULL, &source->new_dirty,
                                                  &source->new_dropped, err);
    if (result < 0) {
        return result;
    }
    merge(source);
    uint64_t now_ns = source_now(source);
    measure_writers(source, now_ns);
    source->collect_took_ns = now_ns - began_ns;
    source->round.pages_dirtied =
        page_set_count(&source->pending) + page_set_count(&source->dropped);
    return 0;
}

int source_collect_run(struct source *source, struct page_run within, struct error *err)
{
    const struct engine_source_guest *guest = source->guest;
    struct page_set *dirty = &source->new_dirty;
    page_set_remove(dirty, within);
    int result = guest->operations->collect_dirty(guest->guest, within, NULL, dirty,
                                                  &source->new_dropped, err);
    if (result < 0) {
        return result;
    }
    source->pages_written += page_set_count_within(dirty, within);
    page_set_unite_within(&source->held, dirty, within);
    page_set_intersect_within(&source->held, &source->told_zero, within);
    page_set_subtract_within(dirty, &source->told_zero, within);
    uint64_t before = page_set_count_within(&source->pending, within);
    page_set_unite_within(&source->pending, dirty, within);
    source->round.pages_to_send += page_set_count_within(&source->pending, within) - before;
    return 0;
}
