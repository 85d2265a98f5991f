/* Both sides' further connections in one process: see lanes_pair.h. */
#include "lanes_pair.h"

#include "test.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/socket.h"

#define PATIENCE_NS (60 * NANOSECONDS_PER_SECOND)
#define SLICE_NS (20 * NANOSECONDS_PER_MILLISECOND)

static uint64_t now_ns(void *clock)
{
    (void)clock;
    return clock_monotonic_ns();
}

static void sleep_ns(void *clock, uint64_t duration_ns)
{
    (void)clock;
    clock_sleep_ns(duration_ns);
}

static uint8_t *make_memory(int *ret_fd)
{
    *ret_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(*ret_fd, LANES_PAIR_MEMORY), 0);
    void *memory = mmap(NULL, LANES_PAIR_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

void lanes_pair_add_path(struct lanes_pair *pair, uint16_t port)
{
    struct mover_path *path = &pair->setup.paths[pair->setup.path_count++];
    snprintf(path->address, sizeof(path->address), "127.0.0.1");
    path->port = port;
}

static void make_setup(struct lanes_pair *pair)
{
    struct mover_setup *setup = &pair->setup;
    uint16_t port;
    memcpy(setup->token, LANES_PAIR_TOKEN, sizeof(LANES_PAIR_TOKEN));
    memcpy(setup->move_id, LANES_PAIR_MOVE, sizeof(LANES_PAIR_MOVE));
    setup->memory_size = LANES_PAIR_MEMORY;
    setup->processor_fd = -1;
    setup->listen_fds[0] = socket_listen_tcp("127.0.0.1", 0, &port, NULL);
    setup->listen_count = 1;
    assert_true(setup->listen_fds[0] >= 0);
    lanes_pair_add_path(pair, port);
}

static int set_up(bool secure, void **state)
{
    struct lanes_pair *pair = calloc(1, sizeof(*pair));
    make_setup(pair);
    if (secure) {
        assert_int_equal(secure_context_new(SECURE_CLIENT, LANES_PAIR_KEY, LANES_PAIR_MOVE,
                                            &pair->source_key, NULL),
                         0);
        assert_int_equal(secure_context_new(SECURE_SERVER, LANES_PAIR_KEY, LANES_PAIR_MOVE,
                                            &pair->destination_key, NULL),
                         0);
    }
    pair->memory = make_memory(&pair->memory_fd);
    pair->copy = make_memory(&pair->copy_fd);
    pair->clock = (struct engine_clock){.now_ns = now_ns, .sleep_ns = sleep_ns};
    pair->source_guest = (struct engine_source_guest){
        .memory_size = LANES_PAIR_MEMORY, .memory = pair->memory, .memory_fd = pair->memory_fd};
    pair->destination_guest = (struct engine_destination_guest){
        .memory_size = LANES_PAIR_MEMORY, .memory = pair->copy, .memory_fd = pair->copy_fd};
    pair->terms = (struct lane_terms){
        .guest = &pair->source_guest, .clock = &pair->clock, .delivered = &pair->delivered};
    assert_int_equal(page_set_init(&pair->delivered, LANES_PAIR_PAGES), 0);
    assert_int_equal(page_set_init(&pair->received, LANES_PAIR_PAGES), 0);
    pair->source = source_lanes_new(&pair->setup, pair->source_key, &pair->cancelled, NULL);
    pair->destination = destination_lanes_new(&pair->setup, pair->destination_key,
                                              &pair->destination_guest, &pair->cancelled);
    *state = pair;
    return 0;
}

int lanes_pair_set_up(void **state)
{
    return set_up(false, state);
}

int lanes_pair_set_up_secure(void **state)
{
    return set_up(true, state);
}

int lanes_pair_tear_down(void **state)
{
    struct lanes_pair *pair = *state;
    source_lanes_free(pair->source);
    destination_lanes_free(pair->destination);
    secure_context_free(pair->source_key);
    secure_context_free(pair->destination_key);
    page_set_done(&pair->delivered);
    page_set_done(&pair->received);
    munmap(pair->memory, LANES_PAIR_MEMORY);
    munmap(pair->copy, LANES_PAIR_MEMORY);
    close(pair->memory_fd);
    close(pair->copy_fd);
    close(pair->setup.listen_fds[0]);
    free(pair);
    return 0;
}

int lanes_pair_open(struct lanes_pair *pair, unsigned most, unsigned expected)
{
    const struct engine_lanes *source = &pair->source->engine;
    const struct engine_arrivals *destination = &pair->destination->engine;
    struct error err = ERROR_NONE;
    assert_int_equal(
        destination->operations->open(destination->arrivals, most, &pair->received, &err), 0);
    int any = source->operations->open(source->lanes, most, &pair->terms, &err);
    lanes_pair_await_lanes(pair, expected);
    return any;
}

void lanes_pair_fill(struct lanes_pair *pair, struct page_run run, bool zero)
{
    uint8_t *bytes = pair->memory + run.first * ENGINE_PAGE_SIZE;
    if (zero) {
        memset(bytes, 0, run.count * ENGINE_PAGE_SIZE);
    } else {
        random_bytes(bytes, run.count * ENGINE_PAGE_SIZE);
    }
}

static int submit_batch(struct lanes_pair *pair, const struct page_batch *batch, struct error *err)
{
    const struct engine_lanes *lanes = &pair->source->engine;
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    int result;
    do {
        result = lanes->operations->submit(lanes->lanes, batch, SLICE_NS, err);
    } while (result == 0 && clock_monotonic_ns() < deadline);
    return result;
}

int lanes_pair_submit(struct lanes_pair *pair, struct page_run run, struct error *err)
{
    uint64_t most = pair->source->engine.batch_pages;
    int result = 1;
    while (run.count > 0 && result == 1) {
        struct page_batch batch = {.run_count = 0};
        uint64_t part = run.count < most ? run.count : most;
        page_batch_add(&batch, (struct page_run){run.first, part});
        result = submit_batch(pair, &batch, err);
        run.first += part;
        run.count -= part;
    }
    return result;
}

unsigned lanes_pair_end_round(struct lanes_pair *pair, uint32_t number)
{
    const struct engine_lanes *source = &pair->source->engine;
    const struct engine_arrivals *destination = &pair->destination->engine;
    struct error err = ERROR_NONE;
    unsigned lanes = 0;
    int result;
    do {
        result = source->operations->end_round(source->lanes, number, SLICE_NS, &lanes, &err);
    } while (result == 0);
    assert_int_equal(result, 1);
    source->operations->settle(source->lanes, &pair->figures);
    do {
        result = destination->operations->await_round(destination->arrivals, lanes, number,
                                                      SLICE_NS, &err);
    } while (result == 0);
    assert_int_equal(result, 1);
    destination->operations->settle(destination->arrivals, &pair->received, &pair->pages_received);
    return lanes;
}

void lanes_pair_assert_equal(const struct lanes_pair *pair)
{
    assert_true(memcmp(pair->memory, pair->copy, LANES_PAIR_MEMORY) == 0);
}

void lanes_pair_await_lanes(struct lanes_pair *pair, unsigned lanes)
{
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    unsigned there;
    do {
        pthread_mutex_lock(&pair->destination->lock);
        there = pair->destination->count;
        pthread_mutex_unlock(&pair->destination->lock);
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    } while (there < lanes && clock_monotonic_ns() < deadline);
    assert_int_equal(there, lanes);
}

void lanes_pair_await_bytes(struct lanes_pair *pair)
{
    const struct engine_lanes *source = &pair->source->engine;
    const struct engine_arrivals *destination = &pair->destination->engine;
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    uint64_t sent = source->operations->bytes_sent(source->lanes);
    while (destination->operations->bytes_received(destination->arrivals) != sent &&
           clock_monotonic_ns() < deadline) {
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    }
    assert_int_equal(destination->operations->bytes_received(destination->arrivals), sent);
}
