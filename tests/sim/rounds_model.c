/* Pre-copy as hypervisors do it: see rounds_model.h. */
#include "rounds_model.h"

#include "base/clock.h"
#include "engine/guest.h"

static uint64_t send_ns(const struct rounds_terms *terms, uint64_t pages)
{
    return pages * ENGINE_PAGE_SIZE * NANOSECONDS_PER_SECOND / terms->link_rate;
}

struct rounds_result rounds_model(const struct rounds_terms *terms, struct pattern_writer *writer)
{
    struct rounds_result result = {0};
    struct page_set dirty;
    uint64_t pages = terms->pages;
    double written = 0;
    page_set_init(&dirty, terms->pages);
    while (result.total_ns < terms->limit_ns) {
        result.total_ns += send_ns(terms, pages);
        result.bytes += pages * ENGINE_PAGE_SIZE;
        page_set_clear(&dirty);
        double until = terms->write_rate * (double)result.total_ns / NANOSECONDS_PER_SECOND;
        for (; written < until; written++) {
            page_set_add(&dirty, (struct page_run){pattern_next_page(writer), 1});
        }
        pages = page_set_count(&dirty);
        if (send_ns(terms, pages) <= terms->downtime_ns) {
            result.bytes += pages * ENGINE_PAGE_SIZE;
            result.total_ns += send_ns(terms, pages);
            result.completed = true;
            break;
        }
    }
    page_set_done(&dirty);
    return result;
}
