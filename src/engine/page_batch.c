/* Pages gathered: see page_batch.h. */
#include "engine/page_batch.h"

#include <assert.h>

void page_batch_empty(struct page_batch *batch)
{
    batch->run_count = 0;
    batch->pages = 0;
}

void page_batch_add(struct page_batch *batch, struct page_run run)
{
    struct page_run *last = batch->run_count > 0 ? &batch->runs[batch->run_count - 1] : NULL;
    if (last && last->first + last->count == run.first) {
        last->count += run.count;
    } else {
        assert(batch->run_count < WIRE_RUNS_MOST);
        batch->runs[batch->run_count++] = run;
    }
    batch->pages += run.count;
}

bool page_batch_is_full(const struct page_batch *batch, uint64_t pages)
{
    return batch->run_count == WIRE_RUNS_MOST || batch->pages >= pages;
}
