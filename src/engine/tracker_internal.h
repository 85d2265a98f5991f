/* The tracker between its files; others use tracker.h. */
#pragma once

#include "base/kernel.h"
#include "engine/guest.h"
#include "engine/tracker.h"

#define TRACKER_PARTS_MOST 32u
#define TRACKER_REGIONS 4096u /* of one PAGEMAP_SCAN call; it is resumed where it stopped */

static inline struct page_run tracker_all(const struct engine_tracker *tracker)
{
    return (struct page_run){0, tracker->memory_size / ENGINE_PAGE_SIZE};
}

/* A run at the target's addresses. */
static inline struct uffdio_range tracker_range(const struct engine_tracker *tracker,
                                                struct page_run run)
{
    return (struct uffdio_range){.start = tracker->address + run.first * ENGINE_PAGE_SIZE,
                                 .len = run.count * ENGINE_PAGE_SIZE};
}

/* Begins to track a run: protects it, mapped or not, and splits huge mappings: 4 KiB entries from
 * here on. On failure it is not tracked. */
int tracker_register(struct engine_tracker *tracker, struct page_run run, struct error *err);

/* Ends it, and forgets what was written. */
void tracker_unregister(struct engine_tracker *tracker, struct page_run run);

/* Protects a run that is registered; part of the above. */
int tracker_protect(struct engine_tracker *tracker, struct page_run run, struct error *err);

/* Adds to `written` what was written in a run since the last time, and protects it again: but for
 * long runs of `skip` (NULL: none), what the pacer has and, with in_extents, what is not in
 * `extents`. */
int tracker_scan(struct engine_tracker *tracker, struct page_run within,
                 const struct page_set *skip, bool in_extents, struct error *err);

/* Adds to `pages` those of a run that are mapped and not protected; changes nothing. */
int tracker_find_unprotected(struct engine_tracker *tracker, struct page_run run,
                             struct page_set *pages, struct error *err);

/* What the pacer noted, and what slipped it: adds it to `written`. */
int tracker_collect_paced(struct engine_tracker *tracker, struct page_run within,
                          const struct page_set *skip, struct error *err);

/* Pages were given back: from now on paced pages may have slipped the pacer. Adds to `written` all
 * that may have done so already. */
void tracker_doubt_paced(struct engine_tracker *tracker);

/* Adds the file's data extents in `within`. The file, not the page table: data need not be mapped.
 */
int tracker_find_extents(const struct engine_tracker *tracker, struct page_run within,
                         struct page_set *pages, struct error *err);
