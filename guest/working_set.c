/* See working_set.h. */
#include "working_set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

enum { FAULTS_DESCRIBED = 20 };

static void *map_zeroed(uint64_t bytes)
{
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return address == MAP_FAILED ? NULL : address;
}

static struct page_stamp stamp_of(const struct working_set *set, uint64_t index)
{
    return (struct page_stamp){set->owner, index, set->generations[index]};
}

static void stamp_page(struct working_set *set, uint64_t index)
{
    struct page_stamp stamp = stamp_of(set, index);

    page_stamp_write(set->pages + index * PAGE_BYTES, &stamp, set->fill);
}

int working_set_init(struct working_set *set, uint64_t bytes, uint64_t owner, enum page_fill fill)
{
    *set = (struct working_set){.count = bytes / PAGE_BYTES, .owner = owner, .fill = fill};
    if (set->count == 0)
        return -EINVAL;

    set->pages = map_zeroed(set->count * PAGE_BYTES);
    set->generations = map_zeroed(set->count * sizeof(*set->generations));
    if (!set->pages || !set->generations) {
        working_set_done(set);
        return -ENOMEM;
    }
    for (uint64_t index = 0; index < set->count; index++)
        stamp_page(set, index);
    return 0;
}

void working_set_done(struct working_set *set)
{
    if (set->pages)
        munmap(set->pages, set->count * PAGE_BYTES);
    if (set->generations)
        munmap(set->generations, set->count * sizeof(*set->generations));
    *set = (struct working_set){0};
}

static void describe(const struct working_set *set, uint64_t index, const struct page_check *check)
{
    if (set->wrong_pages > FAULTS_DESCRIBED)
        return;
    printf("drover-guest: memory fault page=%" PRIu64 " verdict=%s wrong_bytes=%zu first=%zu "
           "generation=%" PRIu32 "\n",
           index, page_verdict_name(check->verdict), check->wrong_bytes, check->first_wrong,
           set->generations[index]);
}

struct page_check working_set_verify(struct working_set *set, uint64_t index)
{
    struct page_stamp stamp = stamp_of(set, index);
    struct page_check check =
        page_stamp_check(set->pages + index * PAGE_BYTES, &stamp, stamp.generation - 1, set->fill);

    set->pages_verified++;
    if (check.verdict != PAGE_RIGHT) {
        set->wrong_pages++;
        set->wrong_bytes += check.wrong_bytes;
        describe(set, index, &check);
        stamp_page(set, index);
    }
    return check;
}

void working_set_write(struct working_set *set, uint64_t index)
{
    working_set_verify(set, index);
    set->generations[index]++;
    set->generation_sum++;
    set->pages_written++;
    stamp_page(set, index);
}

void working_set_verify_table(struct working_set *set)
{
    uint64_t sum = 0;

    for (uint64_t index = 0; index < set->count; index++)
        sum += set->generations[index];
    if (sum == set->generation_sum)
        return;

    printf("drover-guest: memory fault table sum=%" PRIu64 " expected=%" PRIu64 "\n", sum,
           set->generation_sum);
    set->wrong_pages++;
    set->wrong_bytes += sizeof(*set->generations);
    set->generation_sum = sum;
}

void working_set_verify_all(struct working_set *set)
{
    for (uint64_t index = 0; index < set->count; index++)
        working_set_verify(set, index);
    working_set_verify_table(set);
}
