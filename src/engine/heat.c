/* Which pages are written all the time: see heat.h. */
#include "engine/heat.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/guest.h"

/* Two windows tell how fast pages are written: the latest intervals that together are so long, and
 * all of them. In a long one, who writes to the same pages again and again seems slow; in a short
 * one, who goes through much memory seems to write to little. */
#define RECENT_NS (40 * NANOSECONDS_PER_MILLISECOND)

struct window {
    unsigned intervals; /* the latest so many */
    uint64_t duration_ns;
};

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

/* The latest intervals until they are so long. */
static struct window window(const struct heat *heat, uint64_t duration_ns)
{
    struct window window = {0};
    while (window.intervals < heat->known && window.duration_ns < duration_ns) {
        window.duration_ns += heat->duration_ns[interval(heat, window.intervals++)];
    }
    return window;
}

/* Pages of a unit written, summed over the window; 0 when it is in `where`. */
static uint64_t written_in_unit(const struct heat *heat, struct window window,
                                const struct page_set *where, uint64_t number)
{
    struct page_run run = unit_run(where, number);
    uint64_t pages = 0;
    for (unsigned i = 0; i < window.intervals && !page_set_has(where, run.first); i++) {
        pages += page_set_count_within(&heat->written[interval(heat, i)], run);
    }
    return pages;
}

/* Pages written in the window, as bytes a second. */
static uint64_t per_second(struct window window, uint64_t pages)
{
    double bytes = (double)pages * ENGINE_PAGE_SIZE * NANOSECONDS_PER_SECOND;
    return window.duration_ns > 0 ? (uint64_t)(bytes / (double)window.duration_ns) : 0;
}

static uint64_t rest_in(const struct heat *heat, struct window window, const struct page_set *where)
{
    uint64_t pages = 0;
    for (uint64_t i = 0; i < count_of_units(where); i++) {
        pages += written_in_unit(heat, window, where, i);
    }
    return per_second(window, pages);
}

uint64_t heat_rest(const struct heat *heat, const struct page_set *where)
{
    uint64_t lately = rest_in(heat, window(heat, RECENT_NS), where);
    uint64_t for_long = rest_in(heat, window(heat, UINT64_MAX), where);
    return lately > for_long ? lately : for_long;
}

/* As heat_cover(), in one window; `units` has room for all. */
static void cover(const struct heat *heat, struct window window, uint64_t rest_per_second,
                  struct unit *units, struct page_set *where)
{
    uint64_t count = count_of_units(where), rest = 0;
    for (uint64_t i = 0; i < count; i++) {
        units[i] = (struct unit){i, written_in_unit(heat, window, where, i)};
        rest += units[i].pages;
    }
    qsort(units, count, sizeof(*units), compare_units);
    for (uint64_t i = 0; i < count && per_second(window, rest) > rest_per_second; i++) {
        page_set_add(where, unit_run(where, units[i].number));
        rest -= units[i].pages;
    }
}

int heat_cover(const struct heat *heat, uint64_t rest_per_second, struct page_set *where)
{
    CLEANUP_FREE struct unit *units = calloc(count_of_units(where), sizeof(*units));
    if (!units) {
        return -ENOMEM;
    }
    cover(heat, window(heat, RECENT_NS), rest_per_second, units, where);
    cover(heat, window(heat, UINT64_MAX), rest_per_second, units, where);
    return 0;
}
