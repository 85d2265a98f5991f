/*
 * What the destination holds, of pages that are sent again and again: the base of differences.
 *
 * The invariant: a page's entry, where there is one, equals what the destination's memory will hold
 * once it has applied every frame sent before. So each frame that changes a page over there is told
 * here before the same page is sent again: delta_cache_store() with the very bytes that went,
 * delta_cache_forget() where the bytes are not known (sent from the guest's memory, which changes
 * under our eyes) or are zeroes. That is enough because two frames of one round never name the same
 * page, rounds are apart by a barrier, and one lane's frames stay in order.
 *
 * Shared by all lanes of a move. Memory is bounded: a fixed number of slots in sets of eight (as in
 * a processor's cache). A page is let in only when it is sent for the second time, and a full set
 * gives way slowly, so that a sweep over much more memory than fits does not wash out what is
 * there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/page_set.h"

struct delta_cache;

/* For a guest of `pages` pages, with at most about `bytes` of memory for their contents, taken from
 * the system only as it is used. NULL and err when there is none. */
struct delta_cache *delta_cache_new(uint64_t pages, uint64_t bytes, struct error *err);
void delta_cache_free(struct delta_cache *cache);

/* The pages of `run` are on their way, their bytes not known or zeroes: entries are dropped. Counts
 * as having been sent. Costs next to nothing while the cache is empty. */
void delta_cache_forget(struct delta_cache *cache, struct page_run run);

/* The page is on its way with this content. Kept when it was sent before and there is room; an
 * entry that exists is brought up to date always. */
void delta_cache_store(struct delta_cache *cache, uint64_t page, const uint8_t *content);

/* Whether there is an entry: a hint when another thread works on the same page. */
bool delta_cache_has(struct delta_cache *cache, uint64_t page);

/* Whether the page was sent before, so that storing it may be worth a copy. */
bool delta_cache_was_sent(struct delta_cache *cache, uint64_t page);

/* Writes content XOR entry to `difference`; false, and nothing written, when there is no entry. */
bool delta_cache_subtract(struct delta_cache *cache, uint64_t page, const uint8_t *content,
                          uint8_t *difference);

/* Pages held now. */
uint64_t delta_cache_count(const struct delta_cache *cache);
