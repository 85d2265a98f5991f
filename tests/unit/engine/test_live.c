/*
 * Whole moves of a process that lives: it writes and gives back pages all the while, the real
 * tracker follows it, and when it is stopped the copy must equal the original. Then it goes on, and
 * is moved again.
 */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/destination.h"
#include "engine/source.h"
#include "engine/tracker.h"
#include "guest_process.h"
#include "plain_channel.h"

#define MEMORY_SIZE (64ULL << 20)
#define MOVES 3
#define MOVE_ID "00000000-0000-4000-8000-000000000001"

struct fixture {
    struct guest_process process;
    struct engine_tracker tracker;
    int sockets[2];
    int copy_fd;
    enum engine_outcome destination_outcome;
    struct error destination_error;
};

static const char *missing;

static int start_tracking(void *guest, struct error *err)
{
    struct fixture *fixture = guest;
    return engine_tracker_start(&fixture->tracker, err);
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    struct fixture *fixture = guest;
    return engine_tracker_collect_populated(&fixture->tracker, pages, err);
}

static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    struct fixture *fixture = guest;
    return engine_tracker_collect_dirty(&fixture->tracker, within, skip, dirty, dropped, err);
}

static void stop_tracking(void *guest)
{
    struct fixture *fixture = guest;
    engine_tracker_stop(&fixture->tracker);
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct fixture *fixture = guest;
    int status;
    (void)emit, (void)context, (void)err;
    kill(fixture->process.pid, SIGSTOP);
    assert_int_equal(waitpid(fixture->process.pid, &status, WUNTRACED), fixture->process.pid);
    assert_true(WIFSTOPPED(status));
    return 0;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    (void)guest;
    return emit(context, "registers", 9, err);
}

static int resume(void *guest, struct error *err)
{
    struct fixture *fixture = guest;
    (void)err;
    return kill(fixture->process.pid, SIGCONT);
}

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    (void)guest, (void)bytes, (void)length, (void)err;
    return 0;
}

static int do_nothing(void *guest, struct error *err)
{
    (void)guest, (void)err;
    return 0;
}

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

static void progress(void *observer, const struct engine_progress *progress)
{
    (void)observer, (void)progress;
}

static bool cancelled(void *observer)
{
    (void)observer;
    return false;
}

static const struct engine_clock real_clock = {.now_ns = now_ns, .sleep_ns = sleep_ns};
static const struct engine_observer nobody = {.progress = progress, .cancelled = cancelled};
static const struct engine_ownership ownership = {.commit = commit, .settle = settle};

static uint8_t *map(int fd)
{
    void *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static void *run_destination(void *argument)
{
    static const struct engine_destination_guest_operations operations = {
        .load_state = load_state, .finish_load = do_nothing, .run = do_nothing};
    struct fixture *fixture = argument;
    struct plain_channel plain = {.fd = fixture->sockets[1]};
    struct engine_channel channel = plain_channel_of(&plain);
    struct engine_destination_options options = {
        .token = "secret", .move_id = MOVE_ID, .silence_limit_ns = 10 * NANOSECONDS_PER_SECOND};
    struct engine_destination_guest guest = {.operations = &operations,
                                             .memory_size = MEMORY_SIZE,
                                             .memory = map(fixture->copy_fd),
                                             .memory_fd = fixture->copy_fd};
    struct engine_destination_statistics statistics;
    fixture->destination_outcome =
        engine_destination_run(&options, &guest, &channel, NULL, &real_clock, &ownership, &nobody,
                               &statistics, &fixture->destination_error);
    shutdown(fixture->sockets[1], SHUT_RDWR);
    munmap(guest.memory, MEMORY_SIZE);
    return NULL;
}

static enum engine_outcome move(struct fixture *fixture, struct engine_statistics *ret_statistics,
                                struct error *err)
{
    static const struct engine_source_guest_operations operations = {
        .start_tracking = start_tracking,
        .collect_populated = collect_populated,
        .collect_dirty = collect_dirty,
        .stop_tracking = stop_tracking,
        .stop = stop,
        .finish_state = finish_state,
        .resume = resume,
    };
    struct plain_channel plain = {.fd = fixture->sockets[0]};
    struct engine_channel channel = plain_channel_of(&plain);
    struct engine_source_options options = {.token = "secret",
                                            .move_id = MOVE_ID,
                                            .blackout_target_ns = 50 * NANOSECONDS_PER_MILLISECOND,
                                            .timeout_ns = 30 * NANOSECONDS_PER_SECOND};
    struct engine_source_guest guest = {.operations = &operations,
                                        .guest = fixture,
                                        .memory_size = MEMORY_SIZE,
                                        .memory = map(fixture->process.memory_fd),
                                        .memory_fd = fixture->process.memory_fd};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_destination, fixture), 0);
    enum engine_outcome outcome = engine_source_run(&options, &guest, &channel, NULL, &real_clock,
                                                    &ownership, &nobody, ret_statistics, err);
    shutdown(fixture->sockets[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    munmap((void *)guest.memory, MEMORY_SIZE);
    return outcome;
}

static void connect_sides(struct fixture *fixture, const char *copy)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fixture->sockets), 0);
    fixture->copy_fd = guest_process_file(&fixture->process, copy);
}

static void disconnect_sides(struct fixture *fixture)
{
    close(fixture->sockets[0]);
    close(fixture->sockets[1]);
    close(fixture->copy_fd);
}

static int setup(void **state, const char *options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct guest_process *process = &fixture->process;
    struct error err = ERROR_NONE;
    *state = fixture;
    if (!missing) {
        guest_process_start(process, MEMORY_SIZE, options);
        assert_int_equal(engine_tracker_init(&fixture->tracker, process->userfaultfd,
                                             process->pagemap, process->memory_fd, process->address,
                                             MEMORY_SIZE, &err),
                         0);
        engine_tracker_set_watch(&fixture->tracker,
                                 engine_tracker_make_watch(process->memory_fd, &err));
        guest_process_order(process,
                            (struct order){WRITE, 0, MEMORY_SIZE / ENGINE_PAGE_SIZE / 2, 1, 1});
    }
    return 0;
}

static int setup_small(void **state)
{
    return setup(state, "size=256m,huge=never");
}

static int setup_huge(void **state)
{
    return setup(state, "size=256m,huge=always");
}

/* Room for the guest, not for a copy. */
static int setup_full(void **state)
{
    return setup(state, "size=40m,huge=never");
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (!missing) {
        engine_tracker_done(&fixture->tracker);
        guest_process_end(&fixture->process);
    }
    free(fixture);
    return 0;
}

static struct fixture *fixture_of(void **state)
{
    if (missing) {
        print_message("# skipped: %s\n", missing);
        skip();
    }
    return *state;
}

static void test_copy_equals_the_original_move_after_move(void **state)
{
    struct fixture *fixture = fixture_of(state);
    guest_process_order(&fixture->process, (struct order){.deed = LIVE});
    for (int i = 0; i < MOVES; i++) {
        struct engine_statistics statistics;
        struct error err = ERROR_NONE;
        connect_sides(fixture, "copy");
        if (move(fixture, &statistics, &err) != ENGINE_OUTCOME_MOVED) {
            fail_msg("%s", err.message);
        }
        uint8_t *original = map(fixture->process.memory_fd), *copy = map(fixture->copy_fd);
        assert_true(memcmp(original, copy, MEMORY_SIZE) == 0);
        assert_true(statistics.round_count >= 2);
        munmap(original, MEMORY_SIZE);
        munmap(copy, MEMORY_SIZE);
        disconnect_sides(fixture);
        kill(fixture->process.pid, SIGCONT);
        clock_sleep_ns(20 * NANOSECONDS_PER_MILLISECOND);
    }
}

static void test_exhausted_destination_is_named_on_both_sides(void **state)
{
    struct fixture *fixture = fixture_of(state);
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    connect_sides(fixture, "copy");
    assert_int_equal(move(fixture, &statistics, &err), ENGINE_OUTCOME_STAYED);
    assert_int_equal(fixture->destination_outcome, ENGINE_OUTCOME_STAYED);
    assert_int_equal(fixture->destination_error.code, ENOMEM);
    assert_non_null(strstr(fixture->destination_error.message, "exhausted"));
    assert_int_equal(err.code, ENOMEM);
    assert_non_null(strstr(err.message, "exhausted"));
    disconnect_sides(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"small pages: copy equals the original", test_copy_equals_the_original_move_after_move,
         setup_small, teardown, NULL},
        {"huge pages: copy equals the original", test_copy_equals_the_original_move_after_move,
         setup_huge, teardown, NULL},
        cmocka_unit_test_setup_teardown(test_exhausted_destination_is_named_on_both_sides,
                                        setup_full, teardown),
    };
    missing = guest_process_missing();
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    return cmocka_run_group_tests_name("engine/live", tests, NULL, NULL);
}
