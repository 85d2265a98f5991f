/* Collecting what the guest wrote since the last time, and what it gave back. */
#include "base/clock.h"
#include "engine/source_internal.h"

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
    page_set_subtract(&source->new_dropped, &source->new_dirty);
    page_set_subtract(&source->pending, &source->new_dropped);
    page_set_unite(&source->pending, &source->new_dirty);
    page_set_unite(&source->dropped, &source->new_dropped);
    page_set_subtract(&source->dropped, &source->new_dirty);
    page_set_intersect(&source->dropped, &source->delivered);
    uint64_t now_ns = source_now(source);
    uint64_t interval_ns = now_ns - source->collected_ns;
    if (interval_ns > 0 && source->state == SOURCE_PRECOPY) {
        double bytes = (double)page_set_count(&source->new_dirty) * ENGINE_PAGE_SIZE;
        source->dirty_per_second = (uint64_t)(bytes * NANOSECONDS_PER_SECOND / (double)interval_ns);
    }
    source->collected_ns = now_ns;
    source->collect_took_ns = now_ns - began_ns;
    source->round.pages_dirtied =
        page_set_count(&source->pending) + page_set_count(&source->dropped);
    return 0;
}
