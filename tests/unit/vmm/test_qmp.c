/* The QMP client against a scripted monitor at the other end of a socketpair. */
#include "test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "vmm/qemu/migration.h"
#include "vmm/qemu/qmp.h"

struct monitor {
    struct qmp qmp;
    int far_end;
};

static int set_up(void **state)
{
    struct monitor *monitor = calloc(1, sizeof(*monitor));
    int ends[2];
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
    monitor->far_end = ends[1];
    *state = monitor;
    return qmp_adopt(&monitor->qmp, ends[0], NULL);
}

static int tear_down(void **state)
{
    struct monitor *monitor = *state;
    qmp_done(&monitor->qmp);
    close_fd(&monitor->far_end);
    free(monitor);
    return 0;
}

static void say(struct monitor *monitor, const char *text)
{
    assert_int_equal(write(monitor->far_end, text, strlen(text)), (ssize_t)strlen(text));
}

static void a_reply_is_told_from_events_before_it(void **state)
{
    struct monitor *monitor = *state;
    CLEANUP_JSON json_t *value = NULL;
    CLEANUP_JSON json_t *event = NULL;
    struct error err = ERROR_NONE;
    say(monitor, "{\"event\":\"STOP\"}\r\n{\"return\":{\"status\":\"paused\"},\"id\":1}\r\n");
    assert_int_equal(qmp_execute(&monitor->qmp, "query-status", NULL, QMP_TIMEOUT_NS, &value, &err),
                     0);
    assert_string_equal(json_string_value(json_object_get(value, "status")), "paused");
    assert_int_equal(qmp_next_event(&monitor->qmp, 0, &event, &err), 1);
    assert_int_equal(qemu_migration_news(event), QEMU_NEWS_STOPPED);
    json_decref(steal_pointer(&event));
    assert_int_equal(qmp_next_event(&monitor->qmp, 0, &event, &err), 0);
}

static void a_late_reply_to_send_is_not_taken_for_the_next_commands(void **state)
{
    struct monitor *monitor = *state;
    CLEANUP_JSON json_t *value = NULL;
    CLEANUP_JSON json_t *late = NULL;
    assert_int_equal(qmp_send(&monitor->qmp, "first", NULL, NULL), 0);
    say(monitor, "{\"error\":{\"desc\":\"no\"},\"id\":1}\n{\"return\":7,\"id\":2}\n");
    assert_int_equal(qmp_execute(&monitor->qmp, "second", NULL, QMP_TIMEOUT_NS, &value, NULL), 0);
    assert_int_equal(json_integer_value(value), 7);
    assert_int_equal(qmp_next_event(&monitor->qmp, 0, &late, NULL), 1);
    assert_int_equal(qemu_migration_news(late), QEMU_NEWS_FAILED);
}

static void a_refusal_quotes_qemu(void **state)
{
    struct monitor *monitor = *state;
    struct error err = ERROR_NONE;
    say(monitor, "{\"id\":1,\"error\":{\"class\":\"GenericError\",\"desc\":\"lock is held\"}}\n");
    assert_int_equal(qmp_execute(&monitor->qmp, "cont", NULL, QMP_TIMEOUT_NS, NULL, &err), -EIO);
    assert_non_null(strstr(err.message, "cont"));
    assert_non_null(strstr(err.message, "lock is held"));
}

static void a_message_in_pieces_is_one_message(void **state)
{
    struct monitor *monitor = *state;
    CLEANUP_JSON json_t *event = NULL;
    say(monitor, "{\"event\":\"RES");
    assert_int_equal(qmp_next_event(&monitor->qmp, 1000000, &event, NULL), 0);
    say(monitor, "UME\"}\n");
    assert_int_equal(qmp_next_event(&monitor->qmp, 1000000, &event, NULL), 1);
}

static void silence_garbage_and_hang_up_are_errors(void **state)
{
    struct monitor *monitor = *state;
    struct error err = ERROR_NONE;
    assert_int_equal(qmp_execute(&monitor->qmp, "stop", NULL, 1000000, NULL, &err), -ETIMEDOUT);
    say(monitor, "SSH-2.0-garbage\n");
    assert_true(qmp_execute(&monitor->qmp, "stop", NULL, QMP_TIMEOUT_NS, NULL, &err) < 0);
    close_fd(&monitor->far_end);
    assert_int_equal(qmp_execute(&monitor->qmp, "stop", NULL, QMP_TIMEOUT_NS, NULL, &err),
                     -ECONNRESET);
}

static void an_answer_without_memory_is_an_answer(void **state)
{
    (void)state;
    struct qemu_transfer transfer = {.total = 7};
    CLEANUP_JSON json_t *early = json_loads("{\"return\":{\"status\":\"setup\"}}", 0, NULL);
    CLEANUP_JSON json_t *late =
        json_loads("{\"return\":{\"ram\":{\"total\":9,\"remaining\":4}}}", 0, NULL);
    CLEANUP_JSON json_t *event = json_loads("{\"event\":\"STOP\"}", 0, NULL);
    assert_false(qemu_outgoing_told(event, &transfer));
    assert_true(qemu_outgoing_told(early, &transfer));
    assert_int_equal(transfer.total, 7);
    assert_true(qemu_outgoing_told(late, &transfer));
    assert_int_equal(transfer.total, 9);
    assert_int_equal(transfer.remaining, 4);
}

/* Accepts one connection, says what a busy QEMU may say, and takes the client's first command. */
static void *answer_a_client(void *argument)
{
    static const char words[] =
        "{\"event\":\"RTC_CHANGE\"}\r\n{\"return\":{},\"id\":1}\r\n"
        "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"},\"id\":2}\r\n"
        "{\"event\":\"STOP\"}\r\n"
        "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n";
    static const char reply[] = "{\"return\":{},\"id\":1}\r\n";
    char command[512];
    CLEANUP_CLOSE int client = accept(*(int *)argument, NULL, NULL);
    bool said = write(client, words, strlen(words)) > 0 && read(client, command, 512) > 0 &&
                write(client, reply, strlen(reply)) > 0;
    return said ? argument : NULL;
}

static void what_comes_before_the_greeting_is_passed_over(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct qmp qmp;
    struct error err = ERROR_NONE;
    pthread_t monitor;
    void *said;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/test-qmp-%d", (int)getpid());
    CLEANUP_CLOSE int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(pthread_create(&monitor, NULL, answer_a_client, &listener), 0);
    assert_int_equal(qmp_connect(&qmp, address.sun_path, QMP_TIMEOUT_NS, &err), 0);
    pthread_join(monitor, &said);
    assert_non_null(said);
    assert_int_equal(json_array_size(qmp.events), 0);
    qmp_done(&qmp);
    unlink(address.sun_path);
}

int main(void)
{
#define WITH_MONITOR(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_MONITOR(a_reply_is_told_from_events_before_it),
        WITH_MONITOR(a_late_reply_to_send_is_not_taken_for_the_next_commands),
        WITH_MONITOR(a_refusal_quotes_qemu),
        WITH_MONITOR(a_message_in_pieces_is_one_message),
        WITH_MONITOR(silence_garbage_and_hang_up_are_errors),
        cmocka_unit_test(an_answer_without_memory_is_an_answer),
        cmocka_unit_test(what_comes_before_the_greeting_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
