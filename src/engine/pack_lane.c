/* Packing as a lane sees it: see pack_lane.h. */
#include "engine/pack_lane.h"

#include "engine/delta_cache.h"

int pack_lane_init(struct pack_lane *lane, struct delta_cache *cache,
                   const struct engine_clock *clock, struct error *err)
{
    *lane = (struct pack_lane){.cache = cache, .clock = clock};
    pack_choice_init(&lane->choice);
    return packer_init(&lane->packer, cache, err);
}

void pack_lane_done(struct pack_lane *lane)
{
    packer_done(&lane->packer);
}

static uint64_t now(const struct pack_lane *lane)
{
    return lane->clock->now_ns(lane->clock->clock);
}

static uint64_t work(const struct pack_lane *lane)
{
    return lane->clock->work_ns ? lane->clock->work_ns(lane->clock->clock) : now(lane);
}

void pack_lane_resume(struct pack_lane *lane, uint64_t queued)
{
    lane->last_sent_ns = now(lane);
    pack_choice_resume(&lane->choice, queued);
}

void pack_lane_set_idle(struct pack_lane *lane, double idle)
{
    pack_choice_set_idle(&lane->choice, idle);
}

bool pack_lane_wants(const struct pack_lane *lane)
{
    return pack_choice_wants(&lane->choice, now(lane)) ||
           (lane->cache && pack_choice_wants_bases(&lane->choice));
}

/* Pages of the runs for which `has` holds. */
static uint64_t count_pages(struct delta_cache *cache, const struct page_run *runs,
                            uint32_t run_count,
                            bool (*has)(struct delta_cache *cache, uint64_t page))
{
    uint64_t count = 0;
    for (uint32_t i = 0; cache && i < run_count; i++) {
        for (uint64_t page = runs[i].first; page < runs[i].first + runs[i].count; page++) {
            count += has(cache, page);
        }
    }
    return count;
}

static uint64_t run_pages(const struct page_run *runs, uint32_t run_count)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        pages += runs[i].count;
    }
    return pages;
}

/* What the chunk is to be packed with, probed where the choice wants it. */
static enum pack_method choose(struct pack_lane *lane, const uint8_t *memory,
                               const struct page_run *runs, uint32_t run_count, bool has_base)
{
    struct pack_order order = pack_choice_next(&lane->choice, has_base, now(lane));
    if (!order.probe) {
        return order.method;
    }
    uint64_t before_ns = work(lane);
    struct pack_probe probe = packer_probe(&lane->packer, order.method, memory, runs, run_count);
    return pack_choice_probed(&lane->choice, order.method, probe, work(lane) - before_ns,
                              now(lane));
}

/* The bytes are not known: what is remembered of these pages no longer holds. */
static void forget(struct pack_lane *lane, const struct page_run *runs, uint32_t run_count)
{
    for (uint32_t i = 0; lane->cache && i < run_count; i++) {
        delta_cache_forget(lane->cache, runs[i]);
    }
}

/* Packs a copy of the pages; what does not shrink goes plainly out of that copy. */
static void pack_copy(struct pack_lane *lane, const uint8_t *memory, const struct page_run *runs,
                      uint32_t run_count, struct pack_chunk *chunk)
{
    uint64_t began_ns = now(lane), before_ns = work(lane);
    packer_take(&lane->packer, memory, runs, run_count);
    if (packer_pack(&lane->packer, chunk->tried, &chunk->bytes, &chunk->length)) {
        chunk->method = chunk->tried;
    } else {
        chunk->bytes = lane->packer.content;
    }
    packer_remember(&lane->packer);
    chunk->pack_ns = now(lane) - began_ns;
    chunk->work_ns = work(lane) - before_ns;
}

void pack_lane_pack(struct pack_lane *lane, const uint8_t *memory, const struct page_run *runs,
                    uint32_t run_count, struct pack_chunk *ret_chunk)
{
    uint64_t pages = run_pages(runs, run_count);
    bool has_base = count_pages(lane->cache, runs, run_count, delta_cache_has) * 2 > pages;
    struct pack_chunk chunk = {.length = pages * ENGINE_PAGE_SIZE,
                               .content = pages * ENGINE_PAGE_SIZE};
    chunk.tried = choose(lane, memory, runs, run_count, has_base);
    bool remember = lane->cache && pack_choice_wants_bases(&lane->choice) &&
                    count_pages(lane->cache, runs, run_count, delta_cache_was_sent) > 0;
    if (chunk.tried != PACK_NONE || remember) {
        pack_copy(lane, memory, runs, run_count, &chunk);
    } else {
        forget(lane, runs, run_count);
    }
    *ret_chunk = chunk;
}

void pack_lane_sent(struct pack_lane *lane, const struct pack_chunk *chunk, uint64_t queued)
{
    uint64_t now_ns = now(lane);
    const struct pack_outcome outcome = {
        .method = chunk->tried,
        .content = chunk->content,
        .sent = chunk->length,
        .queued = queued,
        .pack_ns = chunk->pack_ns,
        .work_ns = chunk->work_ns,
        .elapsed_ns = now_ns - lane->last_sent_ns,
    };
    lane->last_sent_ns = now_ns;
    pack_choice_sent(&lane->choice, &outcome, now_ns);
}

void pack_lane_sent_plain(struct pack_lane *lane, const struct page_run *runs, uint32_t run_count,
                          uint64_t queued)
{
    size_t bytes = run_pages(runs, run_count) * ENGINE_PAGE_SIZE;
    forget(lane, runs, run_count);
    pack_lane_sent(lane, &(struct pack_chunk){.length = bytes, .content = bytes}, queued);
}

void pack_lane_sent_zero(struct pack_lane *lane, const struct page_run *runs, uint32_t run_count)
{
    forget(lane, runs, run_count);
}
