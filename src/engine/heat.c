/* Which pages are written all the time: see heat.h. */
#include "engine/heat.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/guest.h"

/* How fast pages are written is told by the latest intervals that together are so long: in a long
 * one, who writes to the same pages again and again seems slow. */
#define RECENT_NS (40 * NANOSECONDS_PER_MILLISECOND)

struct unit {
    uint64_t number;
    uint64_t pages; /* written, summed over the intervals */
};

int heat_init(struct heat *heat, uint64_t pages)
{
    *heat = (struct heat){0};
    for (unsigned i = 0; i < HEAT_INTERVALS; i++) {
        int result = page_set_init(&heat->written[i], pages);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

void heat_done(struct heat *heat)
{
    for (unsigned i = 0; i < HEAT_INTERVALS; i++) {
        page_set_done(&heat->written[i]);
    }
}

void heat_note(struct heat *heat, const struct page_set *written, uint64_t duration_ns)
{
    page_set_clear(&heat->written[heat->next]);
    page_set_unite(&heat->written[heat->next], written);
    heat->duration_ns[heat->next] = duration_ns;
    heat->next = (heat->next + 1) % HEAT_INTERVALS;
    heat->known += heat->known < HEAT_INTERVALS;
}

void heat_find_hot(const struct heat *heat, struct page_set *ret_hot)
{
    uint64_t words = (ret_hot->pages + 63) / 64;
    page_set_clear(ret_hot);
    for (uint64_t i = 0; heat->known == HEAT_INTERVALS && i < words; i++) {
        uint64_t a = heat->written[0].words[i], b = heat->written[1].words[i];
        uint64_t c = heat->written[2].words[i], d = heat->written[3].words[i];
        ret_hot->words[i] = (a & b & (c | d)) | (c & d & (a | b));
    }
}

static int compare_units(const void *left, const void *right)
{
    const struct unit *a = left, *b = right;
    return a->pages == b->pages ? (a->number > b->number) - (a->number < b->number)
                                : (a->pages < b->pages) - (a->pages > b->pages);
}

static struct page_run unit_run(const struct page_set *set, uint64_t number)
{
    uint64_t first = number * HEAT_UNIT_PAGES, left = set->pages - first;
    return (struct page_run){first, left < HEAT_UNIT_PAGES ? left : HEAT_UNIT_PAGES};
}

static uint64_t count_of_units(const struct page_set *set)
{
    return (set->pages + HEAT_UNIT_PAGES - 1) / HEAT_UNIT_PAGES;
}

/* The latest but `age`. */
static unsigned interval(const struct heat *heat, unsigned age)
{
    return (heat->next + HEAT_INTERVALS - 1 - age) % HEAT_INTERVALS;
}

/* How many of the latest intervals tell how fast pages are written. */
static unsigned recent(const struct heat *heat, uint64_t *ret_duration_ns)
{
    unsigned count = 0;
    *ret_duration_ns = 0;
    while (count < heat->known && *ret_duration_ns < RECENT_NS) {
        *ret_duration_ns += heat->duration_ns[interval(heat, count++)];
    }
    return count;
}

/* Pages of a unit written, summed over these intervals; 0 when it is in `where`. */
static uint64_t written_in_unit(const struct heat *heat, const struct page_set *where,
                                uint64_t number)
{
    struct page_run run = unit_run(where, number);
    uint64_t pages = 0, duration_ns;
    unsigned count = recent(heat, &duration_ns);
    for (unsigned i = 0; i < count && !page_set_has(where, run.first); i++) {
        pages += page_set_count_within(&heat->written[interval(heat, i)], run);
    }
    return pages;
}

/* Pages in these intervals, as bytes a second. */
static uint64_t per_second(const struct heat *heat, uint64_t pages)
{
    uint64_t duration_ns;
    recent(heat, &duration_ns);
    double bytes = (double)pages * ENGINE_PAGE_SIZE;
    return duration_ns > 0 ? (uint64_t)(bytes * NANOSECONDS_PER_SECOND / (double)duration_ns) : 0;
}

uint64_t heat_rest(const struct heat *heat, const struct page_set *where)
{
    uint64_t pages = 0;
    for (uint64_t i = 0; i < count_of_units(where); i++) {
        pages += written_in_unit(heat, where, i);
    }
    return per_second(heat, pages);
}

int heat_cover(const struct heat *heat, uint64_t rest_per_second, struct page_set *where)
{
    uint64_t count = count_of_units(where), rest = 0;
    CLEANUP_FREE struct unit *units = calloc(count, sizeof(*units));
    if (!units) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < count; i++) {
        units[i] = (struct unit){i, written_in_unit(heat, where, i)};
        rest += units[i].pages;
    }
    qsort(units, count, sizeof(*units), compare_units);
    for (uint64_t i = 0; i < count && per_second(heat, rest) > rest_per_second; i++) {
        page_set_add(where, unit_run(where, units[i].number));
        rest -= units[i].pages;
    }
    return 0;
}
