/*
 * Memory changes hands between the tracker and the pacer.
 *
 * A range belongs to one userfaultfd. Taking it from one forgets what was written, and until the
 * other has protected it nobody sees what is written. So it goes unit by unit: the unit is copied,
 * then what was written is collected, then it changes hands, and what differs from the copy
 * afterwards counts as written too. A page that was not written when it was collected is in the
 * copy as it was when it was collected before: whoever wrote to it since, unless he wrote what was
 * there, made it differ. On the way back all that exists counts as written: nobody is in a hurry.
 */
#include "engine/tracker_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define UNIT_PAGES 512u   /* what a huge page has: smaller ranges would only be more */
#define RANGES_MOST 1024u /* each may split a mapping of the target, which may have 65,530 */

/* All pages that share a unit with one of `where`. */
static void add_units(struct page_set *into, const struct page_set *where)
{
    struct page_run run;
    for (uint64_t page = 0; page_set_next_run(where, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        uint64_t first = run.first - run.first % UNIT_PAGES;
        uint64_t end = (run.first + run.count + UNIT_PAGES - 1) / UNIT_PAGES * UNIT_PAGES;
        end = end < into->pages ? end : into->pages;
        page_set_add(into, (struct page_run){first, end - first});
    }
}

static uint64_t count_runs(const struct page_set *set)
{
    uint64_t count = 0;
    struct page_run run;
    for (uint64_t page = 0; page_set_next_run(set, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        count++;
    }
    return count;
}

static void close_gaps(struct page_set *set, uint64_t widest)
{
    struct page_run run;
    uint64_t end = UINT64_MAX; /* of the run before */
    for (uint64_t page = 0; page_set_next_run(set, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        if (end < run.first && run.first - end <= widest) {
            page_set_add(set, (struct page_run){end, run.first - end});
        }
        end = run.first + run.count;
    }
}

/* What is to be paced anew, as whole ranges. */
static void choose_ranges(const struct engine_tracker *tracker, const struct page_set *where,
                          struct page_set *ranges)
{
    page_set_unite(ranges, &tracker->pacer.paced);
    add_units(ranges, where);
    for (uint64_t gap = UNIT_PAGES; count_runs(ranges) > RANGES_MOST; gap *= 2) {
        close_gaps(ranges, gap);
    }
    page_set_subtract(ranges, &tracker->pacer.paced);
}

/* Pages of a run that may hold anything. */
static void add_existing(const struct engine_tracker *tracker, struct page_run run,
                         struct page_set *pages)
{
    if (tracker_find_extents(tracker, run, pages, NULL) < 0) {
        page_set_add(pages, run);
    }
}

/* What exists of a unit; which pages these are stays in `extents`. */
static void copy_unit(struct engine_tracker *tracker, struct page_run unit, uint8_t *copy)
{
    struct page_run run, rest = unit;
    page_set_remove(&tracker->extents, unit);
    add_existing(tracker, unit, &tracker->extents);
    while (page_set_next_run_within(&tracker->extents, rest, UINT64_MAX, &run)) {
        memcpy(copy + (run.first - unit.first) * ENGINE_PAGE_SIZE,
               tracker->memory + run.first * ENGINE_PAGE_SIZE, run.count * ENGINE_PAGE_SIZE);
        rest.first = run.first + run.count;
        rest.count = unit.first + unit.count - rest.first;
    }
}

/* What was written since it was last collected, to be reported. */
static int collect_unit(struct engine_tracker *tracker, struct page_run unit, struct error *err)
{
    page_set_remove(&tracker->written, unit);
    int result = tracker_scan(tracker, unit, NULL, false, err);
    page_set_unite_within(&tracker->unseen, &tracker->written, unit);
    return result;
}

/* What is not as it was copied, to be reported. */
static void compare_unit(struct engine_tracker *tracker, struct page_run unit, const uint8_t *copy)
{
    page_set_remove(&tracker->written, unit);
    add_existing(tracker, unit, &tracker->written);
    for (uint64_t i = 0; i < unit.count; i++) {
        uint64_t page = unit.first + i;
        if (page_set_has(&tracker->written, page) &&
            (!page_set_has(&tracker->extents, page) ||
             memcmp(tracker->memory + page * ENGINE_PAGE_SIZE, copy + i * ENGINE_PAGE_SIZE,
                    ENGINE_PAGE_SIZE) != 0)) {
            page_set_add(&tracker->unseen, (struct page_run){page, 1});
        }
    }
}

static int give_to_pacer(struct engine_tracker *tracker, struct page_run run, uint8_t *copy,
                         struct error *err)
{
    copy_unit(tracker, run, copy);
    int collected = collect_unit(tracker, run, err);
    if (collected < 0) {
        return collected;
    }
    tracker_unregister(tracker, run);
    int result = pacer_take(&tracker->pacer, run, err);
    if (result < 0) {
        tracker_register(tracker, run, NULL); /* if that fails too, collections will */
        add_existing(tracker, run, &tracker->unseen);
        return result;
    }
    compare_unit(tracker, run, copy);
    return 0;
}

static int give_all_to_pacer(struct engine_tracker *tracker, const struct page_set *ranges,
                             struct error *err)
{
    CLEANUP_FREE uint8_t *copy = malloc((size_t)UNIT_PAGES * ENGINE_PAGE_SIZE);
    if (!copy) {
        return error_set(err, ENOMEM, "no memory to pace the guest's writers");
    }
    struct page_run run;
    int result = 0;
    for (uint64_t page = 0; result == 0 && page_set_next_run(ranges, page, UNIT_PAGES, &run);
         page = run.first + run.count) {
        result = give_to_pacer(tracker, run, copy, err);
    }
    return result;
}

int engine_tracker_set_pacer(struct engine_tracker *tracker, int userfaultfd, pid_t spared_thread,
                             struct error *err)
{
    int result = pacer_init(&tracker->pacer, userfaultfd, tracker->address,
                            tracker_all(tracker).count, spared_thread, err);
    tracker->can_pace = result == 0;
    return result;
}

int engine_tracker_pace(struct engine_tracker *tracker, const struct page_set *where,
                        uint64_t bytes_per_second, struct error *err)
{
    struct page_set ranges;
    if (!tracker->can_pace) {
        return error_set(err, EOPNOTSUPP, "this guest's writers cannot be paced");
    }
    int result = pacer_start(&tracker->pacer, err);
    if (result < 0) {
        return result;
    }
    if (page_set_init(&ranges, where->pages) < 0) {
        return error_set(err, ENOMEM, "no memory to pace the guest's writers");
    }
    pacer_set_rate(&tracker->pacer, bytes_per_second);
    choose_ranges(tracker, where, &ranges);
    result = give_all_to_pacer(tracker, &ranges, err);
    page_set_done(&ranges);
    return result;
}

void engine_tracker_end_pace(struct engine_tracker *tracker)
{
    struct page_run run;
    if (!tracker->can_pace) {
        return;
    }
    while (page_set_next_run(&tracker->pacer.paced, 0, UINT64_MAX, &run)) {
        pacer_give_back(&tracker->pacer, run, &tracker->unseen);
        tracker_register(tracker, run, NULL); /* if that fails, collections will */
        add_existing(tracker, run, &tracker->unseen);
    }
    tracker->pacer.doubtful = false;
    pacer_stop(&tracker->pacer);
}

/* ---- pages that slip the pacer ----
 *
 * Giving a page back takes the kernel two steps: it unmaps the page, which leaves a mark that it is
 * protected, then it takes the page from the file. Who touches the page between the two, this
 * process included, maps it again; then the second step unmaps it once more, and leaves no mark
 * (Linux: unmap_mapping_folio() with ZAP_FLAG_DROP_MARKER). Who writes there next meets no
 * protection. To the asynchronous userfaultfd such a page is a written one; the synchronous one is
 * told nothing. So once anything was given back, each collection looks for pages without
 * protection that were not let go, and protects nothing but what it reports. */

static int note_unprotected(struct engine_tracker *tracker, struct page_run within,
                            struct error *err)
{
    struct page_run run, rest = within;
    int result = 0;
    page_set_remove(&tracker->extents, within);
    while (result == 0 && page_set_next_run_within(&tracker->pacer.paced, rest, UINT64_MAX, &run)) {
        result = tracker_find_unprotected(tracker, run, &tracker->extents, err);
        rest.first = run.first + run.count;
        rest.count = within.first + within.count - rest.first;
    }
    if (result == 0) {
        pacer_note(&tracker->pacer, within, &tracker->extents);
    }
    return result;
}

int tracker_collect_paced(struct engine_tracker *tracker, struct page_run within,
                          const struct page_set *skip, struct error *err)
{
    int result = tracker->pacer.doubtful ? note_unprotected(tracker, within, err) : 0;
    return result < 0 ? result
                      : pacer_collect(&tracker->pacer, within, skip, &tracker->written, err);
}

void tracker_doubt_paced(struct engine_tracker *tracker)
{
    struct page_run run;
    if (!tracker->can_pace || tracker->pacer.doubtful) {
        return;
    }
    for (uint64_t page = 0; page_set_next_run(&tracker->pacer.paced, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        tracker->pacer.doubtful = true;
        add_existing(tracker, run, &tracker->written);
    }
}

uint64_t engine_tracker_waited_ns(struct engine_tracker *tracker)
{
    return tracker->can_pace ? pacer_waited_ns(&tracker->pacer) : 0;
}

void engine_tracker_hasten(struct engine_tracker *tracker)
{
    if (tracker->can_pace) {
        pacer_set_rate(&tracker->pacer, UINT64_MAX);
    }
}
