/* Both ends of the control socket: agents come and go, nothing is lost and nothing is said twice.
 */
#include "test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/socket.h"
#include "mover/control.h"
#include "mover/control_server.h"
#include "mover/report.h"

#define PATIENCE_NS (10 * NANOSECONDS_PER_SECOND)

struct bench {
    char path[64];
    int listener;
    struct control_server server;
};

/* What the engine's thread would wait for. */
struct question {
    struct control_server *server;
    enum control_question question;
    enum engine_verdict verdict;
};

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    snprintf(bench->path, sizeof(bench->path), "/tmp/drover-control-%d.sock", (int)getpid());
    bench->listener = socket_listen_unix(bench->path, 0600, NULL);
    assert_true(bench->listener >= 0);
    assert_int_equal(control_server_start(&bench->server, bench->listener, NULL), 0);
    *state = bench;
    return 0;
}

static struct mover_control connect_agent(const struct bench *bench)
{
    struct mover_control agent;
    assert_int_equal(mover_control_connect(&agent, bench->path, NULL), 0);
    return agent;
}

/* The next event of that kind; others on the way are skipped. New reference. */
static json_t *expect(struct mover_control *agent, const char *kind)
{
    for (;;) {
        struct error err = ERROR_NONE;
        json_t *event = NULL;
        if (mover_control_next(agent, PATIENCE_NS, &event, &err) != 1) {
            fail_msg("no %s came: %s", kind, err.message);
        }
        if (strcmp(json_string_value(json_object_get(event, "event")), kind) == 0) {
            return event;
        }
        json_decref(event);
    }
}

static json_t *some_result(void)
{
    struct error err = ERROR_NONE;
    error_set(&err, ECANCELED, "the move was cancelled");
    return report_result(ENGINE_OUTCOME_STAYED, &err, json_object());
}

/* Ends the server as an agent does. */
static int tear_down(void **state)
{
    struct bench *bench = *state;
    struct mover_control agent = connect_agent(bench);
    if (!bench->server.result) { /* nobody else is using it by now */
        control_server_result(&bench->server, some_result());
    }
    json_decref(expect(&agent, "result"));
    assert_int_equal(mover_control_end(&agent, NULL), 0);
    control_server_finish(&bench->server);
    mover_control_done(&agent);
    close(bench->listener);
    unlink(bench->path);
    free(bench);
    return 0;
}

static void *ask(void *argument)
{
    struct question *question = argument;
    question->verdict = control_server_ask(question->server, question->question, 0);
    return NULL;
}

static void the_latest_progress_awaits_an_agent(void **state)
{
    struct bench *bench = *state;
    struct engine_progress progress = {.phase = ENGINE_PHASE_PRECOPY,
                                       .fraction = 0.5,
                                       .round = 2,
                                       .remaining_ns = UINT64_MAX,
                                       .predicted_blackout_ns = 7};
    control_server_progress(&bench->server, &progress);
    struct mover_control agent = connect_agent(bench);
    CLEANUP_JSON json_t *event = expect(&agent, "progress");
    assert_string_equal(json_string_value(json_object_get(event, "phase")), "pre-copy");
    assert_int_equal(json_integer_value(json_object_get(event, "round")), 2);
    assert_true(json_is_null(json_object_get(event, "remaining_ns")));
    assert_int_equal(json_integer_value(json_object_get(event, "predicted_blackout_ns")), 7);
    mover_control_done(&agent);
}

static void a_question_outlives_the_agent_that_heard_it(void **state)
{
    struct bench *bench = *state;
    struct question question = {&bench->server, CONTROL_QUESTION_COMMIT, ENGINE_OWNER_SOURCE};
    pthread_t engine;
    pthread_create(&engine, NULL, ask, &question);
    struct mover_control first = connect_agent(bench);
    CLEANUP_JSON json_t *heard = expect(&first, "question");
    uint64_t asked_at = mover_control_asked_at(heard);
    mover_control_done(&first); /* dies without an answer */
    struct mover_control second = connect_agent(bench);
    CLEANUP_JSON json_t *event = expect(&second, "question");
    assert_string_equal(json_string_value(json_object_get(event, "question")), "commit");
    assert_int_equal(mover_control_asked_at(event), asked_at); /* grows old, and is not renewed */
    assert_int_equal(mover_control_answer(&second, "nobody", NULL), 0); /* no answer at all */
    assert_int_equal(mover_control_answer(&second, "destination", NULL), 0);
    pthread_join(engine, NULL);
    assert_int_equal(question.verdict, ENGINE_OWNER_DESTINATION);
    mover_control_done(&second);
}

/* Of a mover that says none, or nonsense. */
static void a_question_without_a_time_is_new(void **state)
{
    (void)state;
    static const char *const times[] = {"null", "-7", "0", "\"yesterday\"", "9223372036854775807"};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "{\"asked_at_ns\": %s}", times[i]);
        CLEANUP_JSON json_t *question = json_loads(text, 0, NULL);
        uint64_t before = clock_boottime_ns();
        uint64_t asked_at = mover_control_asked_at(question);
        assert_true(asked_at >= before && asked_at <= clock_boottime_ns());
    }
}

static void settle_can_go_to_the_source(void **state)
{
    struct bench *bench = *state;
    struct question question = {&bench->server, CONTROL_QUESTION_SETTLE, ENGINE_OWNER_DESTINATION};
    struct mover_control agent = connect_agent(bench);
    pthread_t engine;
    pthread_create(&engine, NULL, ask, &question);
    CLEANUP_JSON json_t *event = expect(&agent, "question");
    assert_string_equal(json_string_value(json_object_get(event, "question")), "settle");
    assert_int_equal(mover_control_answer(&agent, "source", NULL), 0);
    pthread_join(engine, NULL);
    assert_int_equal(question.verdict, ENGINE_OWNER_SOURCE);
    mover_control_done(&agent);
}

static void wait_for_cancel(struct bench *bench)
{
    uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;
    while (!atomic_load(&bench->server.cancelled)) {
        assert_true(clock_monotonic_ns() < deadline);
        clock_sleep_ns(NANOSECONDS_PER_MILLISECOND);
    }
}

static void cancel_is_heard(void **state)
{
    struct bench *bench = *state;
    struct mover_control agent = connect_agent(bench);
    assert_false(atomic_load(&bench->server.cancelled));
    assert_int_equal(mover_control_cancel(&agent, NULL), 0);
    wait_for_cancel(bench);
    mover_control_done(&agent);
}

static void nonsense_ends_a_connection_and_no_more(void **state)
{
    struct bench *bench = *state;
    static const char *const lines[] = {"{\"command\":", "[]\n", "\xff\xfe\n", "42\n"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct mover_control agent = connect_agent(bench);
        assert_true(write(agent.fd, lines[i], strlen(lines[i])) > 0);
        mover_control_done(&agent);
    }
    struct mover_control agent = connect_agent(bench);
    assert_int_equal(dprintf(agent.fd, "{\"command\":\"dance\"}\n"), 20);
    assert_int_equal(mover_control_end(&agent, NULL), 0); /* before a result: means nothing */
    assert_int_equal(mover_control_cancel(&agent, NULL), 0);
    wait_for_cancel(bench);
    mover_control_done(&agent);
}

/* 0 when a stranger who could connect hears nothing and is hung up on. */
static int be_another_user(const char *path)
{
    char byte;
    int fd = setresuid(65534, 65534, 65534) < 0 ? -1 : socket_connect_unix(path, NULL);
    return fd >= 0 && read(fd, &byte, 1) == 0 ? 0 : 1;
}

static void only_who_made_the_socket_is_heard(void **state)
{
    const struct bench *bench = *state;
    int status;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(chmod(bench->path, 0666), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(be_another_user(bench->path));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_result_is_repeated_until_it_is_taken(void **state)
{
    struct bench *bench = *state;
    control_server_result(&bench->server, some_result());
    for (int i = 0; i < 2; i++) {
        struct mover_control agent = connect_agent(bench);
        CLEANUP_JSON json_t *result = expect(&agent, "result");
        struct error err = ERROR_NONE;
        assert_string_equal(json_string_value(json_object_get(result, "outcome")), "stayed");
        assert_int_equal(json_to_error(result, &err), -ECANCELED);
        mover_control_done(&agent);
    }
}

int main(void)
{
#define ON_BENCH(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_BENCH(the_latest_progress_awaits_an_agent),
        ON_BENCH(a_question_outlives_the_agent_that_heard_it),
        ON_BENCH(a_question_without_a_time_is_new),
        ON_BENCH(settle_can_go_to_the_source),
        ON_BENCH(cancel_is_heard),
        ON_BENCH(nonsense_ends_a_connection_and_no_more),
        ON_BENCH(only_who_made_the_socket_is_heard),
        ON_BENCH(a_result_is_repeated_until_it_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
