/* Whole moves over several connections: both engines, real TCP, a guest that is memory which goes
 * on being written for some rounds. */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/destination.h"
#include "engine/plain_channel.h"
#include "engine/source.h"
#include "lanes_pair.h"

#define LIMIT ((uint64_t)100 << 20)
#define STATE_SIZE 100000u

struct move {
    struct lanes_pair *pair;
    int sockets[2]; /* channel 0 */
    struct engine_source_options options;
    struct page_run writes; /* what the guest writes between two collections */
    unsigned writing;       /* so many more times; the last one is saving the state */
    uint64_t cancel_at;     /* bytes sent; 0: never */
    enum engine_outcome source, destination;
    struct engine_statistics statistics;
    struct error source_error, destination_error;
};

/* ---- the guest ---- */

static int start_tracking(void *guest, struct error *err)
{
    (void)guest, (void)err;
    return 0;
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    (void)guest, (void)err;
    page_set_add(pages, (struct page_run){0, LANES_PAIR_PAGES});
    return 0;
}

static void write_memory(struct move *move, struct page_set *dirty)
{
    if (move->writing > 0) {
        move->writing--;
        lanes_pair_fill(move->pair, move->writes, move->writing % 3 == 2);
        page_set_add(dirty, move->writes);
    }
}

static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    (void)skip, (void)dropped, (void)err;
    if (within.count == LANES_PAIR_PAGES) {
        write_memory(guest, dirty);
    }
    return 0;
}

static void stop_tracking(void *guest)
{
    (void)guest;
}

/* What the stopped guest leaves is much, and so is what saving its state dirties. */
static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct move *move = guest;
    (void)emit, (void)context, (void)err;
    move->writing = 2;
    return 0;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    static const uint8_t state[STATE_SIZE];
    (void)guest;
    return emit(context, state, sizeof(state), err);
}

static int do_nothing(void *guest, struct error *err)
{
    (void)guest, (void)err;
    return 0;
}

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    (void)guest, (void)bytes, (void)length, (void)err;
    return 0;
}

/* ---- the world ---- */

static enum engine_verdict commit(void *ownership, uint64_t ready_age_ns)
{
    (void)ownership;
    (void)ready_age_ns;
    return ENGINE_OWNER_DESTINATION;
}

static enum engine_verdict settle(void *ownership)
{
    (void)ownership;
    return ENGINE_OWNER_DESTINATION;
}

static void progress(void *observer, const struct engine_progress *progress)
{
    (void)observer, (void)progress;
}

static bool never_cancelled(void *observer)
{
    (void)observer;
    return false;
}

static bool is_cancelled(void *observer)
{
    struct move *move = observer;
    const struct engine_lanes *lanes = &move->pair->source->engine;
    return move->cancel_at > 0 && lanes->operations->bytes_sent(lanes->lanes) >= move->cancel_at;
}

static const struct engine_ownership ownership = {.commit = commit, .settle = settle};

static void *run_destination(void *argument)
{
    static const struct engine_destination_guest_operations operations = {
        .load_state = load_state, .finish_load = do_nothing, .run = do_nothing};
    struct move *move = argument;
    struct lanes_pair *pair = move->pair;
    struct plain_channel plain = {.fd = move->sockets[1]};
    struct engine_channel channel = plain_channel_of(&plain);
    struct engine_destination_options options = {.token = LANES_PAIR_TOKEN,
                                                 .move_id = LANES_PAIR_MOVE,
                                                 .channels_most = 64,
                                                 .silence_limit_ns = 30 * NANOSECONDS_PER_SECOND};
    struct engine_destination_guest guest = pair->destination_guest;
    struct engine_observer nobody = {.progress = progress, .cancelled = never_cancelled};
    struct engine_destination_statistics statistics;
    guest.operations = &operations;
    move->destination =
        engine_destination_run(&options, &guest, &channel, &pair->destination->engine, &pair->clock,
                               &ownership, &nobody, &statistics, &move->destination_error);
    shutdown(move->sockets[1], SHUT_RDWR);
    return NULL;
}

static void run_source(struct move *move)
{
    static const struct engine_source_guest_operations operations = {
        .start_tracking = start_tracking,
        .collect_populated = collect_populated,
        .collect_dirty = collect_dirty,
        .stop_tracking = stop_tracking,
        .stop = stop,
        .finish_state = finish_state,
        .resume = do_nothing,
    };
    struct lanes_pair *pair = move->pair;
    struct plain_channel plain = {.fd = move->sockets[0]};
    struct engine_channel channel = plain_channel_of(&plain);
    struct engine_source_guest guest = pair->source_guest;
    struct engine_observer observer = {
        .progress = progress, .cancelled = is_cancelled, .observer = move};
    guest.operations = &operations;
    guest.guest = move;
    move->source =
        engine_source_run(&move->options, &guest, &channel, &pair->source->engine, &pair->clock,
                          &ownership, &observer, &move->statistics, &move->source_error);
    shutdown(move->sockets[0], SHUT_RDWR);
}

static void run_move(struct move *move)
{
    struct engine_source_options *options = &move->options;
    pthread_t thread;
    memcpy(options->token, LANES_PAIR_TOKEN, sizeof(LANES_PAIR_TOKEN));
    memcpy(options->move_id, LANES_PAIR_MOVE, sizeof(LANES_PAIR_MOVE));
    options->blackout_target_ns = NANOSECONDS_PER_MILLISECOND;
    options->timeout_ns = 60 * NANOSECONDS_PER_SECOND;
    options->on_timeout = ENGINE_ON_TIMEOUT_STOP;
    move->pair->setup.options = *options;
    lanes_pair_fill(move->pair, (struct page_run){0, LANES_PAIR_PAGES}, false);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, move->sockets), 0);
    pthread_create(&thread, NULL, run_destination, move);
    run_source(move);
    pthread_join(thread, NULL);
    close(move->sockets[0]);
    close(move->sockets[1]);
}

static void assert_moved(const struct move *move)
{
    if (move->source != ENGINE_OUTCOME_MOVED || move->destination != ENGINE_OUTCOME_MOVED) {
        fail_msg("%s; %s", move->source_error.message, move->destination_error.message);
    }
    lanes_pair_assert_equal(move->pair);
}

/* ---- the tests ---- */

static void the_copy_equals_the_original(void **state)
{
    struct move move = {.pair = *state,
                        .options = {.channels = 4},
                        .writes = {100, LANES_PAIR_PAGES / 2},
                        .writing = 4};
    run_move(&move);
    assert_moved(&move);
    assert_in_range(move.statistics.channels, 2, 4);
    assert_true(move.statistics.round_count >= 5);
}

static void the_copy_equals_the_original_packed(void **state)
{
    struct move move = {.pair = *state,
                        .options = {.channels = 3, .compress = true},
                        .writes = {100, LANES_PAIR_PAGES / 2},
                        .writing = 4};
    run_move(&move);
    assert_moved(&move);
}

/* What the lanes were lent is freed with the engine: they must have let go of it by then. */
static void a_cancel_in_the_middle_of_a_round(void **state)
{
    struct move move = {
        .pair = *state, .options = {.channels = 4}, .cancel_at = LANES_PAIR_MEMORY / 3};
    run_move(&move);
    assert_int_equal(move.source, ENGINE_OUTCOME_STAYED);
    assert_int_equal(move.source_error.code, ECANCELED);
    assert_int_equal(move.destination, ENGINE_OUTCOME_STAYED);
    assert_int_equal(move.destination_error.code, ECANCELED);
}

/* Every round, also one that its lanes take at once, is no faster than the limit. */
static void the_limit_holds_for_each_round(void **state)
{
    struct move move = {.pair = *state,
                        .options = {.channels = 4, .bandwidth_limit = LIMIT},
                        .writes = {0, 2500},
                        .writing = 4};
    run_move(&move);
    assert_moved(&move);
    assert_true(move.statistics.round_count >= 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct engine_round *round = &move.statistics.rounds[i];
        double allowed = (double)LIMIT * (double)round->duration_ns / NANOSECONDS_PER_SECOND;
        assert_true((double)round->bytes_sent <= allowed * 1.02);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, lanes_pair_set_up, lanes_pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_copy_equals_the_original),
        TEST(the_copy_equals_the_original_packed),
        TEST(a_cancel_in_the_middle_of_a_round),
        TEST(the_limit_holds_for_each_round),
    };
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    return cmocka_run_group_tests_name("mover/lanes-move", tests, NULL, NULL);
}
