/*
 * The look at a guest: see sample.h.
 *
 * From the beginning on every page is write-protected, and the pages written since are collected at
 * growing distances: their union is the working set curve. What it costs the guest: about a
 * microsecond for the first write to a page in each of the intervals, and an entry in the page
 * table for every 4 KiB from then on, where there was one for 2 MiB.
 */
#include "mover/sample.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/guest.h"
#include "engine/pack.h"
#include "engine/zero.h"

#define PAGES_READ_MOST 2048u
#define HOT_POINTS_LEAST 4u /* fewer say nothing of what is written all the time */
#define LAST_GAP_NS (2 * NANOSECONDS_PER_MILLISECOND) /* a point sooner after another is none */

struct look {
    struct engine_tracker *tracker;
    struct engine_sample sample;
    uint64_t began_ns;
    struct page_set written; /* since the last point */
    struct page_set dropped; /* likewise; not asked for, but reported */
    struct page_set ever;    /* since the beginning */
    struct page_set hot;     /* in every interval */
};

static int look_init(struct look *look, struct engine_tracker *tracker, struct error *err)
{
    uint64_t pages = tracker->memory_size / ENGINE_PAGE_SIZE;
    *look = (struct look){.tracker = tracker,
                          .sample = {.memory_bytes = tracker->memory_size, .packed_share = 1}};
    if (page_set_init(&look->written, pages) < 0 || page_set_init(&look->dropped, pages) < 0 ||
        page_set_init(&look->ever, pages) < 0 || page_set_init(&look->hot, pages) < 0) {
        return error_set(err, ENOMEM, "no memory to look at the guest's %llu pages",
                         (unsigned long long)pages);
    }
    return 0;
}

static void look_done(struct look *look)
{
    page_set_done(&look->written);
    page_set_done(&look->dropped);
    page_set_done(&look->ever);
    page_set_done(&look->hot);
}

static uint64_t bytes_of(const struct page_set *set)
{
    return page_set_count(set) * ENGINE_PAGE_SIZE;
}

/* ---- the curve ---- */

static int add_point(struct look *look, struct error *err)
{
    struct engine_sample *sample = &look->sample;
    struct page_run all = {0, look->written.pages};
    uint64_t now_ns = clock_monotonic_ns();
    page_set_clear(&look->written);
    int result =
        engine_tracker_collect_dirty(look->tracker, all, NULL, &look->written, &look->dropped, err);
    if (result < 0) {
        return result;
    }
    sample->collect_ns = clock_monotonic_ns() - now_ns;
    page_set_unite(&look->ever, &look->written);
    if (sample->point_count == 0) {
        page_set_unite(&look->hot, &look->written);
    }
    page_set_intersect(&look->hot, &look->written);
    assert(sample->point_count < ENGINE_SAMPLE_POINTS_MOST);
    sample->points[sample->point_count++] =
        (struct engine_sample_point){now_ns - look->began_ns, bytes_of(&look->ever)};
    return 0;
}

static uint64_t last_point_ns(const struct look *look)
{
    const struct engine_sample *sample = &look->sample;
    return look->began_ns +
           (sample->point_count > 0 ? sample->points[sample->point_count - 1].after_ns : 0);
}

/* Waits for the moment, or for the word to end, and adds the point. 0 when it is the last one. */
static int next_point(struct look *look, uint64_t moment_ns, const struct sample_wait *wait,
                      struct error *err)
{
    int waited = wait->until(wait->context, moment_ns, err);
    if (waited < 0 || clock_monotonic_ns() < last_point_ns(look) + LAST_GAP_NS) {
        return waited;
    }
    int result = add_point(look, err);
    return result < 0 ? result : waited;
}

static int draw_curve(struct look *look, uint64_t duration_ns, const struct sample_wait *wait,
                      struct error *err)
{
    static const uint64_t after_ms[] = {10, 20, 50, 100, 200, 400, 800, 1400};
    int result = 1;
    for (size_t i = 0; result > 0 && i < sizeof(after_ms) / sizeof(after_ms[0]); i++) {
        uint64_t after_ns = after_ms[i] * NANOSECONDS_PER_MILLISECOND;
        if (after_ns < duration_ns) {
            result = next_point(look, look->began_ns + after_ns, wait, err);
        }
    }
    if (result > 0) {
        result = next_point(look, look->began_ns + duration_ns, wait, err);
    }
    return result < 0 ? result : 0;
}

/* ---- what is in the pages ---- */

/* What was found in the pages that were read. */
struct contents {
    uint64_t read, zeroes;
    uint64_t plain, packed; /* bytes of the others, and what packing makes of them */
    uint8_t *chunk;         /* pages to be packed together */
    uint64_t chunk_pages;
};

/* Reads one page; a hole reads as zeroes and stays a hole, which it would not through a mapping. */
static bool read_page(const struct look *look, uint64_t page, uint8_t *content)
{
    return pread(look->tracker->memory_fd, content, ENGINE_PAGE_SIZE,
                 (off_t)(page * ENGINE_PAGE_SIZE)) == ENGINE_PAGE_SIZE;
}

static void pack_chunk(struct contents *contents, struct packer *packer)
{
    struct page_run all = {0, contents->chunk_pages};
    const uint8_t *packed;
    size_t plain = contents->chunk_pages * ENGINE_PAGE_SIZE;
    size_t length = plain;
    if (contents->chunk_pages > 0) {
        packer_take(packer, contents->chunk, &all, 1);
        packer_pack(packer, PACK_ZSTD, &packed, &length);
        contents->plain += plain;
        contents->packed += length < plain ? length : plain;
        contents->chunk_pages = 0;
    }
}

static void add_page(const struct look *look, uint64_t page, struct contents *contents,
                     struct packer *packer)
{
    uint8_t *content = contents->chunk + contents->chunk_pages * ENGINE_PAGE_SIZE;
    if (!read_page(look, page, content)) {
        return;
    }
    contents->read++;
    if (zero_page(content)) {
        contents->zeroes++;
    } else if (++contents->chunk_pages == PACK_CHUNK_PAGES) {
        pack_chunk(contents, packer);
    }
}

/* One in so many of the populated pages. */
static void read_some(const struct look *look, const struct page_set *populated,
                      struct contents *contents, struct packer *packer)
{
    uint64_t step = page_set_count(populated) / PAGES_READ_MOST + 1;
    uint64_t due = step / 2, rank = 0;
    struct page_run run;
    for (uint64_t page = 0; page_set_next_run(populated, page, UINT64_MAX, &run);
         page = run.first + run.count) {
        for (; due < rank + run.count; due += step) {
            add_page(look, run.first + due - rank, contents, packer);
        }
        rank += run.count;
    }
    pack_chunk(contents, packer);
}

static int look_inside(struct look *look, const struct page_set *populated, struct error *err)
{
    struct packer packer;
    struct contents contents = {.chunk = aligned_alloc(64, PACK_CHUNK_BYTES)};
    int result = contents.chunk ? packer_init(&packer, NULL, err)
                                : error_set_errno(err, ENOMEM, "cannot look at the guest's pages");
    if (result == 0) {
        read_some(look, populated, &contents, &packer);
        packer_done(&packer);
    }
    if (contents.read > 0) {
        look->sample.zero_share = (double)contents.zeroes / (double)contents.read;
    }
    if (contents.packed > 0) {
        look->sample.packed_share = (double)contents.packed / (double)contents.plain;
    }
    free(contents.chunk);
    return result;
}

/* ---- the whole ---- */

static int watch_guest(struct look *look, uint64_t duration_ns, const struct sample_wait *wait,
                       struct page_set *populated, struct error *err)
{
    int result = engine_tracker_start(look->tracker, err);
    if (result < 0) {
        return result;
    }
    look->began_ns = clock_monotonic_ns();
    result = engine_tracker_collect_populated(look->tracker, populated, err);
    if (result == 0) {
        result = draw_curve(look, duration_ns, wait, err);
    }
    engine_tracker_stop(look->tracker);
    return result;
}

int sample_take(struct engine_tracker *tracker, uint64_t duration_ns,
                const struct sample_wait *wait, struct engine_sample *ret_sample, struct error *err)
{
    struct look look;
    struct page_set populated = {0};
    int result = look_init(&look, tracker, err);
    if (result == 0 && page_set_init(&populated, look.ever.pages) < 0) {
        result = error_set(err, ENOMEM, "no memory to look at the guest's pages");
    }
    if (result == 0) {
        result = watch_guest(&look, duration_ns, wait, &populated, err);
    }
    if (result == 0) {
        page_set_unite(&populated, &look.ever);
        result = look_inside(&look, &populated, err);
    }
    if (result == 0) {
        look.sample.populated_bytes = bytes_of(&populated);
        if (look.sample.point_count >= HOT_POINTS_LEAST) {
            look.sample.hot_bytes = bytes_of(&look.hot);
        }
        *ret_sample = look.sample;
    }
    page_set_done(&populated);
    look_done(&look);
    return result;
}
