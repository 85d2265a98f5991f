/* The look at a guest, on a real process that writes between its points; and the sample on its way
 * to the agent. */
#include "test.h"

#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/guest.h"
#include "engine/guest_process.h"
#include "mover/sample.h"

#define PAGES 4096u /* 16 MiB */
#define MEMORY_SIZE ((uint64_t)PAGES * ENGINE_PAGE_SIZE)
#define STEP_NS (4 * NANOSECONDS_PER_MILLISECOND)

static const char *missing; /* why nothing can be tracked here */

/* ---- the look ---- */

/* What the process does while one waits for the next point. */
struct script {
    struct guest_process process;
    const struct order *orders;
    size_t order_count, given;
    size_t last; /* the look is told to end with that point; 0: never */
    int failure;
};

static int give_next(void *context, uint64_t moment_ns, struct error *err)
{
    struct script *script = context;
    (void)moment_ns;
    clock_sleep_ns(STEP_NS);
    if (script->failure < 0) {
        return error_set(err, -script->failure, "nobody waits");
    }
    if (script->given < script->order_count) {
        guest_process_order(&script->process, script->orders[script->given]);
    }
    script->given++;
    return script->last > 0 && script->given == script->last ? 0 : 1;
}

static int look(struct script *script, struct engine_sample *ret_sample)
{
    struct error err = ERROR_NONE;
    struct guest_process *process = &script->process;
    struct engine_tracker tracker;
    struct sample_wait wait = {give_next, script};
    assert_int_equal(engine_tracker_init(&tracker, process->userfaultfd, process->pagemap,
                                         process->memory_fd, process->address, MEMORY_SIZE, &err),
                     0);
    int result = sample_take(&tracker, 2 * NANOSECONDS_PER_SECOND, &wait, ret_sample, &err);
    engine_tracker_done(&tracker);
    return result;
}

static void begin(struct script *script)
{
    if (missing) {
        print_message("# skipped: %s\n", missing);
        skip();
    }
    guest_process_start(&script->process, MEMORY_SIZE, "size=64m,huge=never");
}

static const struct order orders[] = {
    {.deed = WRITE, .first = 0, .count = 100, .value = 1},
    {.deed = WRITE, .first = 50, .count = 100, .value = 2}, /* 50 of them again */
    {.deed = WRITE, .first = 90, .count = 10, .value = 3},  /* nothing new */
    {.deed = WRITE, .first = 90, .count = 20, .value = 4},
    {.deed = WRITE, .first = 95, .count = 1000, .value = 5},
};

static void the_curve_counts_each_page_once(void **state)
{
    (void)state;
    static const uint64_t expected[] = {100, 150, 150, 150, 1095, 1095};
    struct script script = {.orders = orders, .order_count = 5};
    struct engine_sample sample;
    begin(&script);
    assert_int_equal(look(&script, &sample), 0);
    assert_int_equal(sample.point_count, 9);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(sample.points[i].bytes, expected[i] * ENGINE_PAGE_SIZE);
    }
    assert_int_equal(sample.hot_bytes, 0); /* nothing was written after the fifth point */
    assert_int_equal(sample.memory_bytes, MEMORY_SIZE);
    guest_process_end(&script.process);
}

static void a_look_that_is_to_end_ends_with_what_was_seen(void **state)
{
    (void)state;
    struct script script = {.orders = orders, .order_count = 5, .last = 4};
    struct engine_sample sample;
    begin(&script);
    assert_int_equal(look(&script, &sample), 0);
    assert_int_equal(sample.point_count, 4);
    assert_int_equal(sample.hot_bytes, 10 * ENGINE_PAGE_SIZE); /* 90 to 99, every time */
    guest_process_end(&script.process);
}

static void zeroes_and_what_packs_well_are_told(void **state)
{
    (void)state;
    static const struct order half[] = {
        {.deed = WRITE, .first = 0, .count = PAGES, .value = 0},
        {.deed = WRITE, .first = 0, .count = PAGES, .step = 4, .value = 7}};
    struct script script = {.orders = half, .order_count = 2, .last = 2};
    struct engine_sample sample;
    begin(&script);
    assert_int_equal(look(&script, &sample), 0);
    assert_int_equal(sample.populated_bytes, MEMORY_SIZE);
    assert_true(sample.zero_share > 0.4 && sample.zero_share < 0.95);
    assert_true(sample.packed_share < 0.05); /* one byte that is no zero, each */
    guest_process_end(&script.process);
}

static void a_guest_is_untracked_when_the_look_fails(void **state)
{
    (void)state;
    struct script script = {.failure = -ECANCELED};
    struct engine_sample sample;
    struct error err = ERROR_NONE;
    struct engine_tracker tracker;
    struct page_set dirty, dropped;
    begin(&script);
    assert_int_equal(look(&script, &sample), -ECANCELED);
    struct guest_process *process = &script.process;
    assert_int_equal(engine_tracker_init(&tracker, process->userfaultfd, process->pagemap,
                                         process->memory_fd, process->address, MEMORY_SIZE, &err),
                     0);
    assert_int_equal(page_set_init(&dirty, PAGES), 0);
    assert_int_equal(page_set_init(&dropped, PAGES), 0);
    /* What is not registered cannot be scanned. */
    assert_int_equal(engine_tracker_collect_dirty(&tracker, (struct page_run){0, PAGES}, NULL,
                                                  &dirty, &dropped, &err),
                     -EPERM);
    page_set_done(&dirty);
    page_set_done(&dropped);
    engine_tracker_done(&tracker);
    guest_process_end(&script.process);
}

/* ---- on its way ---- */

static struct engine_sample example(void)
{
    return (struct engine_sample){.memory_bytes = 1 << 20,
                                  .populated_bytes = 1 << 19,
                                  .zero_share = 0.25,
                                  .packed_share = 0.5,
                                  .hot_bytes = 4096,
                                  .collect_ns = 1000,
                                  .point_count = 2,
                                  .points = {{10, 4096}, {20, 8192}}};
}

static void a_sample_survives_the_way(void **state)
{
    (void)state;
    struct engine_sample sent = example();
    struct engine_sample got;
    struct error err = ERROR_NONE;
    CLEANUP_JSON json_t *event = sample_encode(&sent);
    assert_int_equal(sample_decode(event, &got, &err), 0);
    assert_memory_equal(&got, &sent, sizeof(sent));
}

static void a_failure_survives_the_way(void **state)
{
    (void)state;
    struct engine_sample got;
    struct error sent = ERROR_NONE;
    struct error err = ERROR_NONE;
    error_set(&sent, EPERM, "cannot track");
    CLEANUP_JSON json_t *event = json_from_error(&sent);
    json_object_set_new(event, "event", json_string("failed"));
    assert_int_equal(sample_decode(event, &got, &err), -EPERM);
    assert_string_equal(err.message, "cannot track");
}

/* Steals `value`: one key of a good sample set to something else. */
static void assert_refused(const char *key, json_t *value)
{
    struct engine_sample sample = example();
    struct engine_sample got = {.memory_bytes = 1};
    struct error err = ERROR_NONE;
    CLEANUP_JSON json_t *event = sample_encode(&sample);
    json_object_set_new(event, key, value);
    assert_int_equal(sample_decode(event, &got, &err), -EINVAL);
    assert_int_equal(got.memory_bytes, 1); /* untouched */
    assert_true(*err.message != '\0');
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    assert_refused("event", json_null());
    assert_refused("populated_bytes", json_integer((1 << 20) + 1));
    assert_refused("zero_share", json_real(1.5));
    assert_refused("zero_share", json_string("much"));
    assert_refused("packed_share", json_integer(0));
    assert_refused("hot_bytes", json_integer(-1));
    assert_refused("points", json_pack("[{s:i, s:i}, {s:i, s:i}]", "after_ns", 20, "bytes", 1,
                                       "after_ns", 10, "bytes", 2));
    assert_refused("points", json_pack("[{s:i, s:i}, {s:i, s:i}]", "after_ns", 10, "bytes", 2,
                                       "after_ns", 20, "bytes", 1));
    json_t *many = json_array();
    for (uint32_t i = 0; i <= ENGINE_SAMPLE_POINTS_MOST; i++) {
        json_array_append_new(many, json_pack("{s:i, s:i}", "after_ns", i + 1, "bytes", i));
    }
    assert_refused("points", many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_curve_counts_each_page_once),
        cmocka_unit_test(a_look_that_is_to_end_ends_with_what_was_seen),
        cmocka_unit_test(zeroes_and_what_packs_well_are_told),
        cmocka_unit_test(a_guest_is_untracked_when_the_look_fails),
        cmocka_unit_test(a_sample_survives_the_way),
        cmocka_unit_test(a_failure_survives_the_way),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    missing = guest_process_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
