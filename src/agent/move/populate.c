/* Memory for a machine that is to come: see populate.h. */
#include "agent/move/populate.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/log.h"
#include "base/parallel.h"

#define THREADS_MOST 4u
#define STEP_UNITS 8u /* populated by one call: 16 MiB, between two looks whether to go on */

struct range {
    uint64_t first; /* units */
    uint64_t count;
};

struct populate {
    uint64_t memory_size;
    struct range *ranges; /* owned */
    size_t range_count;
    uint8_t *memory; /* mapping; NULL before the beginning */
    pthread_t threads[THREADS_MOST];
    unsigned thread_count;
    pthread_mutex_t lock; /* of the place */
    size_t range;         /* the place: what comes next */
    uint64_t done;        /* units of that range */
    atomic_bool stopping;
};

/* ---- the source ---- */

static uint64_t units_of(uint64_t bytes)
{
    return (bytes + POPULATE_UNIT - 1) / POPULATE_UNIT;
}

/* The next stretch of data at or after `from`; false when there is none. */
static bool next_data(int fd, uint64_t from, uint64_t size, struct range *ret_range)
{
    struct file_extent data;
    if (file_next_data(fd, from, size, &data) <= 0) {
        return false;
    }
    uint64_t first = data.begin / POPULATE_UNIT;
    *ret_range = (struct range){first, units_of(data.end) - first};
    return true;
}

/* Ranges that are no further apart than `gap` units; NULL when they are too many. */
static json_t *describe(int fd, uint64_t size, uint64_t gap)
{
    json_t *list = json_array();
    struct range range, open = {0};
    for (uint64_t from = 0; next_data(fd, from, size, &range);
         from = (range.first + range.count) * POPULATE_UNIT) {
        if (open.count > 0 && range.first <= open.first + open.count + gap) {
            open.count = range.first + range.count - open.first;
            continue;
        }
        if (open.count > 0) {
            json_array_append_new(
                list, json_pack("[I, I]", (json_int_t)open.first, (json_int_t)open.count));
        }
        open = range;
    }
    if (open.count > 0) {
        json_array_append_new(list,
                              json_pack("[I, I]", (json_int_t)open.first, (json_int_t)open.count));
    }
    if (json_array_size(list) > POPULATE_RANGES_MOST) {
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *populate_describe(int memory_fd, uint64_t memory_size)
{
    json_t *list = NULL;
    for (uint64_t gap = 0; !list && gap <= units_of(memory_size); gap = gap * 2 + 1) {
        list = describe(memory_fd, memory_size, gap);
    }
    return list;
}

/* ---- the destination ---- */

static int read_range(const json_t *pair, uint64_t least, uint64_t units, struct range *ret_range,
                      struct error *err)
{
    const json_t *first = json_array_get(pair, 0), *count = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(first) || !json_is_integer(count) ||
        json_integer_value(first) < 0 || json_integer_value(count) < 1 ||
        (uint64_t)json_integer_value(first) < least ||
        (uint64_t)json_integer_value(first) >= units ||
        (uint64_t)json_integer_value(count) > units - (uint64_t)json_integer_value(first)) {
        return error_set(err, EINVAL,
                         "\"populated\" must be a list of [first, count], ascending, in units of "
                         "2 MiB, inside of the VM's memory");
    }
    *ret_range =
        (struct range){(uint64_t)json_integer_value(first), (uint64_t)json_integer_value(count)};
    return 0;
}

static int read_ranges(struct populate *populate, const json_t *description, struct error *err)
{
    uint64_t units = units_of(populate->memory_size), end = 0;
    for (size_t i = 0; i < populate->range_count; i++) {
        struct range *range = &populate->ranges[i];
        int result = read_range(json_array_get(description, i), end, units, range, err);
        if (result < 0) {
            return result;
        }
        end = range->first + range->count;
    }
    return 0;
}

int populate_new(const json_t *description, uint64_t memory_size, struct populate **ret_populate,
                 struct error *err)
{
    *ret_populate = NULL;
    if (!description || json_is_null(description)) {
        return 0;
    }
    size_t count = json_array_size(description);
    if (!json_is_array(description) || count > POPULATE_RANGES_MOST) {
        return error_set(err, EINVAL, "\"populated\" must be a list of at most %u ranges",
                         POPULATE_RANGES_MOST);
    }
    struct populate *populate = calloc(1, sizeof(*populate));
    struct range *ranges = calloc(count + 1, sizeof(*ranges));
    if (!populate || !ranges) {
        free(populate);
        free(ranges);
        return error_set_errno(err, ENOMEM, "cannot prepare the VM's memory");
    }
    *populate = (struct populate){.memory_size = memory_size,
                                  .ranges = ranges,
                                  .range_count = count,
                                  .lock = PTHREAD_MUTEX_INITIALIZER};
    int result = read_ranges(populate, description, err);
    if (result < 0) {
        populate_free(populate);
        return result;
    }
    *ret_populate = populate;
    return 0;
}

/* The next step, in order; false when there is nothing left. */
static bool next_step(struct populate *populate, struct range *ret_step)
{
    bool any = false;
    pthread_mutex_lock(&populate->lock);
    if (populate->range < populate->range_count) {
        const struct range *range = &populate->ranges[populate->range];
        uint64_t left = range->count - populate->done;
        *ret_step =
            (struct range){range->first + populate->done, left < STEP_UNITS ? left : STEP_UNITS};
        populate->done += ret_step->count;
        if (populate->done == range->count) {
            populate->range++;
            populate->done = 0;
        }
        any = true;
    }
    pthread_mutex_unlock(&populate->lock);
    return any;
}

static void *run(void *argument)
{
    struct populate *populate = argument;
    struct range step;
    while (!atomic_load(&populate->stopping) && next_step(populate, &step)) {
        uint64_t offset = step.first * POPULATE_UNIT, length = step.count * POPULATE_UNIT;
        length = length < populate->memory_size - offset ? length : populate->memory_size - offset;
        if (madvise(populate->memory + offset, length, MADV_POPULATE_WRITE) < 0) {
            atomic_store(&populate->stopping, true); /* no room, or a kernel before 5.14 */
        }
    }
    return NULL;
}

/* Half of the processors: QEMU is being started meanwhile, and other guests run. */
static unsigned threads_wanted(void)
{
    unsigned half = parallel_threads(2 * THREADS_MOST) / 2;
    return half > 0 ? half : 1;
}

void populate_begin(void *argument, int memory_fd)
{
    struct populate *populate = argument;
    if (!populate) {
        return;
    }
    void *memory =
        mmap(NULL, populate->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (memory == MAP_FAILED) {
        log_warning("a machine's memory is not populated ahead: it cannot be mapped");
        return;
    }
    populate->memory = memory;
    while (populate->thread_count < threads_wanted() &&
           pthread_create(&populate->threads[populate->thread_count], NULL, run, populate) == 0) {
        populate->thread_count++;
    }
}

void populate_free(struct populate *populate)
{
    if (!populate) {
        return;
    }
    atomic_store(&populate->stopping, true);
    for (unsigned i = 0; i < populate->thread_count; i++) {
        pthread_join(populate->threads[i], NULL);
    }
    if (populate->memory) {
        munmap(populate->memory, populate->memory_size);
    }
    pthread_mutex_destroy(&populate->lock);
    free(populate->ranges);
    free(populate);
}
