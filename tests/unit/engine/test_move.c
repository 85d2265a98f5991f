/* A source and a destination, whole, over a real socket with real memory. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/destination.h"
#include "engine/source.h"
#include "plain_channel.h"

#define PAGES 4096u
#define MEMORY_SIZE ((uint64_t)PAGES * ENGINE_PAGE_SIZE)
#define MOVE_ID "00000000-0000-4000-8000-000000000001"

static const char early_state[] = "rom and bios";
static const char late_state[] = "registers";

struct memory {
    int fd;
    uint8_t *bytes;
};

/* The machine on both sides, and what is expected to become of it. */
struct fixture {
    struct memory source, destination;
    int sockets[2];
    struct page_set dirty;   /* what the next collect_dirty() reports */
    struct page_set dropped; /* likewise */
    uint32_t rounds_dirtied;
    char loaded[256];
    size_t loaded_length;
    bool source_runs, destination_runs;
    bool fail_load, cancel, freeze;
    atomic_bool is_loaded;
    uint64_t frozen_ns; /* of the source's time */
    enum engine_verdict owner;
    struct engine_destination_options options;
    enum engine_outcome destination_outcome;
    struct engine_destination_statistics destination_statistics;
    struct error destination_error;
};

/* The source's end of the channel; what takes it for the plain one is right, too. */
struct source_channel {
    struct plain_channel plain; /* first */
    const struct engine_channel_operations *plain_operations;
    struct fixture *fixture;
};

static struct memory memory_new(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)MEMORY_SIZE), 0);
    uint8_t *bytes = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    return (struct memory){fd, bytes};
}

static void memory_done(struct memory *memory)
{
    munmap(memory->bytes, MEMORY_SIZE);
    close(memory->fd);
}

static void fill_page(struct fixture *fixture, uint64_t page, int value)
{
    memset(fixture->source.bytes + page * ENGINE_PAGE_SIZE, value, ENGINE_PAGE_SIZE);
}

static int start_tracking(void *guest, struct error *err)
{
    (void)guest, (void)err;
    return 0;
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    struct fixture *fixture = guest;
    (void)err;
    for (off_t at = 0; (at = lseek(fixture->source.fd, at, SEEK_DATA)) >= 0;) {
        off_t end = lseek(fixture->source.fd, at, SEEK_HOLE);
        page_set_add(pages, (struct page_run){(uint64_t)at / ENGINE_PAGE_SIZE,
                                              (uint64_t)(end - at) / ENGINE_PAGE_SIZE});
        at = end;
    }
    return 0;
}

/* Pages are changed here, right before they are reported: round by round, other ones. */
static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    struct fixture *fixture = guest;
    (void)skip;
    (void)err;
    if (within.count < PAGES) {
        return 0;
    }
    page_set_unite(dirty, &fixture->dirty);
    page_set_unite(dropped, &fixture->dropped);
    page_set_clear(&fixture->dirty);
    page_set_clear(&fixture->dropped);
    if (fixture->rounds_dirtied++ < 1) {
        for (uint64_t page = 5; page < PAGES; page += 7) {
            fill_page(fixture, page, (int)(page % 251));
            page_set_add(dirty, (struct page_run){page, 1});
        }
        fill_page(fixture, 100, 0);
        page_set_add(dirty, (struct page_run){100, 1});
    }
    return 0;
}

static void stop_tracking(void *guest)
{
    (void)guest;
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct fixture *fixture = guest;
    int result = emit(context, early_state, sizeof(early_state), err);
    fixture->source_runs = false;
    fill_page(fixture, 7, 77); /* a last write */
    page_set_add(&fixture->dirty, (struct page_run){7, 1});
    return result;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct fixture *fixture = guest;
    fill_page(fixture, 8, 88);
    page_set_add(&fixture->dirty, (struct page_run){8, 1});
    return emit(context, late_state, sizeof(late_state), err);
}

static int resume(void *guest, struct error *err)
{
    struct fixture *fixture = guest;
    (void)err;
    fixture->source_runs = true;
    return 0;
}

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    struct fixture *fixture = guest;
    (void)err;
    assert_true(fixture->loaded_length + length <= sizeof(fixture->loaded));
    memcpy(fixture->loaded + fixture->loaded_length, bytes, length);
    fixture->loaded_length += length;
    return 0;
}

static int finish_load(void *guest, struct error *err)
{
    struct fixture *fixture = guest;
    atomic_store(&fixture->is_loaded, true);
    return fixture->fail_load ? error_set(err, EIO, "the device \"e1000\" is not known here") : 0;
}

static int run_guest(void *guest, struct error *err)
{
    struct fixture *fixture = guest;
    (void)err;
    assert_false(fixture->source_runs);
    fixture->destination_runs = true;
    return 0;
}

/* As an agent does. */
static enum engine_verdict commit(void *ownership, uint64_t ready_age_ns)
{
    struct fixture *fixture = ownership;
    bool is_old = ready_age_ns > 3 * NANOSECONDS_PER_SECOND;
    return fixture->owner = is_old ? ENGINE_OWNER_SOURCE : ENGINE_OWNER_DESTINATION;
}

static enum engine_verdict settle(void *ownership)
{
    struct fixture *fixture = ownership;
    return fixture->owner;
}

static uint64_t now_ns(void *clock)
{
    (void)clock;
    return clock_monotonic_ns();
}

static uint64_t source_now_ns(void *clock)
{
    return clock_monotonic_ns() + ((const struct fixture *)clock)->frozen_ns;
}

/* The source was stopped, for 4 s each time, while what it finds was on its way. */
static int wait_frozen(void *context, uint64_t timeout_ns, struct error *err)
{
    struct source_channel *source = context;
    struct fixture *fixture = source->fixture;
    int result = source->plain_operations->wait_readable(&source->plain, timeout_ns, err);
    if (result > 0 && fixture->freeze && atomic_load(&fixture->is_loaded)) {
        fixture->frozen_ns += 4 * NANOSECONDS_PER_SECOND;
    }
    return result;
}

static void sleep_ns(void *clock, uint64_t duration_ns)
{
    (void)clock;
    clock_sleep_ns(duration_ns);
}

static void progress(void *observer, const struct engine_progress *progress)
{
    (void)observer;
    assert_true(progress->fraction >= 0 && progress->fraction <= 1);
}

static bool cancelled(void *observer)
{
    struct fixture *fixture = observer;
    return fixture && fixture->cancel;
}

static const struct engine_clock real_clock = {.now_ns = now_ns, .sleep_ns = sleep_ns};

static void *run_destination(void *argument)
{
    static const struct engine_destination_guest_operations operations = {
        .load_state = load_state, .finish_load = finish_load, .run = run_guest};
    struct fixture *fixture = argument;
    struct plain_channel plain = {.fd = fixture->sockets[1]};
    struct engine_channel channel = plain_channel_of(&plain);
    struct engine_destination_guest guest = {.operations = &operations,
                                             .guest = fixture,
                                             .memory_size = MEMORY_SIZE,
                                             .memory = fixture->destination.bytes,
                                             .memory_fd = fixture->destination.fd};
    struct engine_ownership ownership = {.settle = settle, .ownership = fixture};
    struct engine_observer observer = {.progress = progress, .cancelled = cancelled};
    fixture->destination_outcome = engine_destination_run(
        &fixture->options, &guest, &channel, NULL, &real_clock, &ownership, &observer,
        &fixture->destination_statistics, &fixture->destination_error);
    shutdown(fixture->sockets[1], SHUT_RDWR);
    return NULL;
}

static enum engine_outcome move(struct fixture *fixture,
                                const struct engine_source_options *options,
                                struct engine_statistics *ret_statistics, struct error *err)
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
    struct source_channel source = {.plain.fd = fixture->sockets[0], .fixture = fixture};
    struct engine_channel channel = plain_channel_of(&source.plain);
    struct engine_channel_operations channel_operations = *channel.operations;
    source.plain_operations = channel.operations;
    channel_operations.wait_readable = wait_frozen;
    channel.operations = &channel_operations;
    struct engine_clock clock = {.now_ns = source_now_ns, .sleep_ns = sleep_ns, .clock = fixture};
    struct engine_source_guest guest = {.operations = &operations,
                                        .guest = fixture,
                                        .memory_size = MEMORY_SIZE,
                                        .memory = fixture->source.bytes,
                                        .memory_fd = fixture->source.fd};
    struct engine_ownership ownership = {.commit = commit, .ownership = fixture};
    struct engine_observer observer = {progress, cancelled, fixture};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_destination, fixture), 0);
    enum engine_outcome outcome = engine_source_run(options, &guest, &channel, NULL, &clock,
                                                    &ownership, &observer, ret_statistics, err);
    shutdown(fixture->sockets[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    return outcome;
}

static struct engine_source_options source_options(void)
{
    return (struct engine_source_options){.token = "secret",
                                          .move_id = MOVE_ID,
                                          .blackout_target_ns = 50 * NANOSECONDS_PER_MILLISECOND,
                                          .timeout_ns = 20 * NANOSECONDS_PER_SECOND};
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->source = memory_new();
    fixture->destination = memory_new();
    fixture->source_runs = true;
    fixture->owner = ENGINE_OWNER_SOURCE;
    fixture->options = (struct engine_destination_options){
        .token = "secret", .move_id = MOVE_ID, .silence_limit_ns = 10 * NANOSECONDS_PER_SECOND};
    assert_int_equal(page_set_init(&fixture->dirty, PAGES), 0);
    assert_int_equal(page_set_init(&fixture->dropped, PAGES), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fixture->sockets), 0);
    for (uint64_t page = 0; page < PAGES / 2; page++) {
        fill_page(fixture, page, 1 + (int)(page % 200));
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    memory_done(&fixture->source);
    memory_done(&fixture->destination);
    close(fixture->sockets[0]);
    close(fixture->sockets[1]);
    page_set_done(&fixture->dirty);
    page_set_done(&fixture->dropped);
    free(fixture);
    return 0;
}

static void test_moves(void **state)
{
    struct fixture *fixture = *state;
    struct engine_source_options options = source_options();
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    assert_int_equal(move(fixture, &options, &statistics, &err), ENGINE_OUTCOME_MOVED);
    assert_int_equal(fixture->destination_outcome, ENGINE_OUTCOME_MOVED);
    assert_int_equal(err.code, 0);
    assert_true(fixture->destination_runs && !fixture->source_runs);
    assert_memory_equal(fixture->source.bytes, fixture->destination.bytes, MEMORY_SIZE);
    assert_int_equal(fixture->loaded_length, sizeof(early_state) + sizeof(late_state));
    assert_memory_equal(fixture->loaded + sizeof(early_state), late_state, sizeof(late_state));
    assert_true(statistics.blackout_ns > 0);
    assert_int_equal(statistics.rounds[0].pages_to_send, PAGES / 2);
    assert_int_equal(statistics.bytes_sent, fixture->destination_statistics.bytes_received);
}

static void test_destination_that_cannot_load_leaves_the_guest_here(void **state)
{
    struct fixture *fixture = *state;
    struct engine_source_options options = source_options();
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    fixture->fail_load = true;
    assert_int_equal(move(fixture, &options, &statistics, &err), ENGINE_OUTCOME_STAYED);
    assert_int_equal(fixture->destination_outcome, ENGINE_OUTCOME_STAYED);
    assert_true(fixture->source_runs && !fixture->destination_runs);
    assert_non_null(strstr(err.message, "e1000"));
}

/* Who has said long ago that he is ready may be dead by now: nothing is committed to him. */
static void test_ready_that_is_old_leaves_the_guest_here(void **state)
{
    struct fixture *fixture = *state;
    struct engine_source_options options = source_options();
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    fixture->freeze = true;
    assert_int_equal(move(fixture, &options, &statistics, &err), ENGINE_OUTCOME_STAYED);
    assert_int_equal(fixture->owner, ENGINE_OWNER_SOURCE);
    assert_int_equal(fixture->destination_outcome, ENGINE_OUTCOME_STAYED);
    assert_true(fixture->source_runs && !fixture->destination_runs);
    assert_non_null(strstr(err.message, "taken back"));
}

static void test_wrong_token_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct engine_source_options options = source_options();
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    options.token[31] ^= 1;
    assert_int_equal(move(fixture, &options, &statistics, &err), ENGINE_OUTCOME_STAYED);
    assert_int_equal(fixture->destination_error.code, EACCES);
    assert_non_null(strstr(err.message, "secret"));
    assert_int_equal(statistics.blackout_ns, 0);
}

static void test_cancelled_move_stays(void **state)
{
    struct fixture *fixture = *state;
    struct engine_source_options options = source_options();
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    fixture->cancel = true;
    assert_int_equal(move(fixture, &options, &statistics, &err), ENGINE_OUTCOME_STAYED);
    assert_int_equal(err.code, ECANCELED);
    assert_int_equal(fixture->destination_error.code, ECANCELED);
    assert_true(fixture->source_runs);
}

static void test_target_below_the_device_state_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct engine_source_options options = source_options();
    struct engine_statistics statistics;
    struct error err = ERROR_NONE;
    options.device_state_ns = 2 * options.blackout_target_ns;
    assert_int_equal(move(fixture, &options, &statistics, &err), ENGINE_OUTCOME_STAYED);
    assert_non_null(strstr(err.message, "device state"));
    assert_non_null(strstr(err.remedy, "--blackout 201ms"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destination_that_cannot_load_leaves_the_guest_here,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ready_that_is_old_leaves_the_guest_here, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_wrong_token_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_move_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_target_below_the_device_state_is_refused, setup,
                                        teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    return cmocka_run_group_tests_name("engine/move", tests, NULL, NULL);
}
