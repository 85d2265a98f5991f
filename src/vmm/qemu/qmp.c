/* The QMP client: see qmp.h. One line of JSON is one message. */
#include "vmm/qemu/qmp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/socket.h"

#define MESSAGE_MOST ((size_t)16 << 20) /* query-cpu-definitions takes some 100 KiB */
#define READ_SIZE ((size_t)64 << 10)
#define RETRY_NS (10 * NANOSECONDS_PER_MILLISECOND)

static int gone(struct error *err)
{
    return error_set(err, ECONNRESET, "QEMU closed its monitor: it has ended or crashed");
}

static int read_more(struct qmp *qmp, uint64_t deadline, struct error *err)
{
    if (qmp->input.length > MESSAGE_MOST) {
        return error_set(err, EPROTO, "QEMU's monitor sent a message of more than %zu bytes",
                         MESSAGE_MOST);
    }
    uint64_t now = clock_monotonic_ns();
    int ready = socket_wait_readable(qmp->fd, deadline > now ? deadline - now : 0);
    if (ready == 0) {
        return -ETIMEDOUT;
    }
    uint8_t *space = ready < 0 ? NULL : buffer_reserve(&qmp->input, READ_SIZE);
    if (!space) {
        return error_set_errno(err, ready < 0 ? ready : ENOMEM, "cannot read QEMU's monitor");
    }
    ssize_t got = recv(qmp->fd, space, READ_SIZE, 0);
    if (got < 0 && errno != ECONNRESET) {
        return error_set_errno(err, errno, "cannot read QEMU's monitor");
    }
    if (got <= 0) {
        return gone(err);
    }
    qmp->input.length += (size_t)got;
    return 0;
}

static int read_message(struct qmp *qmp, uint64_t deadline, json_t **ret_message, struct error *err)
{
    uint8_t *end;
    while (!(end = qmp->input.length ? memchr(qmp->input.data, '\n', qmp->input.length) : NULL)) {
        int result = read_more(qmp, deadline, err);
        if (result < 0) {
            return result;
        }
    }
    size_t length = (size_t)(end - qmp->input.data) + 1;
    json_t *message =
        json_parse((const char *)qmp->input.data, length, "QEMU's monitor message", err);
    qmp->input.length -= length;
    memmove(qmp->input.data, qmp->input.data + length, qmp->input.length);
    if (!message) {
        return -EINVAL;
    }
    *ret_message = message;
    return 0;
}

/* Of a command that was taken back: a reply to nothing. */
static bool is_complaint(const json_t *message)
{
    return json_object_get(message, "error") && !json_object_get(message, "id");
}

/* The next message, whatever it is; -ETIMEDOUT (err untouched) when none comes in time. */
static int next_message(struct qmp *qmp, uint64_t deadline, json_t **ret_message, struct error *err)
{
    for (;;) {
        CLEANUP_JSON json_t *message = NULL;
        int result = read_message(qmp, deadline, &message, err);
        if (result < 0) {
            return result;
        }
        if (qmp->complaints == 0 || !is_complaint(message)) {
            *ret_message = steal_pointer(&message);
            return 0;
        }
        qmp->complaints--;
    }
}

int qmp_reply_error(const json_t *reply, const char *command, struct error *err)
{
    const char *text = json_string_value(json_object_get(json_object_get(reply, "error"), "desc"));
    return error_set(err, EIO, "QEMU refused %s: %s", command, text ? text : "no reason given");
}

static bool is_reply_to(const json_t *message, int64_t id)
{
    const json_t *value = json_object_get(message, "id");
    return json_is_integer(value) && json_integer_value(value) == id;
}

/* Waits for the reply to the latest command; events that come first are kept. */
static int await_reply(struct qmp *qmp, const char *command, uint64_t timeout_ns,
                       json_t **ret_value, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    for (;;) {
        CLEANUP_JSON json_t *message = NULL;
        int result = next_message(qmp, deadline, &message, err);
        if (result == -ETIMEDOUT) {
            return error_set(err, ETIMEDOUT, "QEMU did not answer %s in time", command);
        }
        if (result < 0) {
            return result;
        }
        if (!is_reply_to(message, qmp->last_id)) {
            json_array_append(qmp->events, message);
            continue;
        }
        if (json_object_get(message, "error")) {
            return qmp_reply_error(message, command, err);
        }
        if (ret_value) {
            *ret_value = json_incref(json_object_get(message, "return"));
        }
        return 0;
    }
}

/* The bytes of a command with a new id, without its closing brace; the caller frees. */
static char *encode_command(struct qmp *qmp, const char *command, json_t *arguments)
{
    CLEANUP_JSON json_t *message =
        json_pack("{s:s, s:I}", "execute", command, "id", (json_int_t)++qmp->last_id);
    if (message && arguments) {
        json_object_set(message, "arguments", arguments);
    }
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    if (text) {
        text[strlen(text) - 1] = '\0';
    }
    return text;
}

static int send_text(struct qmp *qmp, const char *text, size_t length, const int *fd,
                     struct error *err)
{
    int result = socket_send_fds(qmp->fd, text, length, fd, fd ? 1 : 0);
    if (result == -EPIPE || result == -ECONNRESET) {
        return gone(err);
    }
    return result < 0 ? error_set_errno(err, result, "cannot send to QEMU's monitor") : 0;
}

/* Makes QEMU forget a command that it has in part, if any: no JSON has this byte (qmp-spec,
 * "Forcing the JSON parser into known-good state"). It will complain. */
static int take_back(struct qmp *qmp, struct error *err)
{
    if (!qmp->ahead) {
        return 0;
    }
    free(steal_pointer(&qmp->ahead));
    qmp->complaints++;
    return send_text(qmp, "\xff", 1, NULL, err);
}

static int send_command(struct qmp *qmp, const char *command, json_t *arguments, const int *fd,
                        struct error *err)
{
    int result = take_back(qmp, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_FREE char *text = encode_command(qmp, command, arguments);
    if (!text) {
        return error_set_errno(err, ENOMEM, "cannot ask QEMU for %s", command);
    }
    size_t length = strlen(text);
    text[length++] = '}'; /* in the terminator's place */
    return send_text(qmp, text, length, fd, err);
}

int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, uint64_t timeout_ns,
                json_t **ret_value, struct error *err)
{
    int result = send_command(qmp, command, arguments, NULL, err);
    return result < 0 ? result : await_reply(qmp, command, timeout_ns, ret_value, err);
}

int qmp_execute_with_fd(struct qmp *qmp, const char *command, json_t *arguments, int fd,
                        uint64_t timeout_ns, json_t **ret_value, struct error *err)
{
    int result = send_command(qmp, command, arguments, &fd, err);
    return result < 0 ? result : await_reply(qmp, command, timeout_ns, ret_value, err);
}

static bool is_ahead(const struct qmp *qmp, const char *command)
{
    return qmp->ahead && strcmp(qmp->ahead, command) == 0;
}

int qmp_send_ahead(struct qmp *qmp, const char *command, json_t *arguments, struct error *err)
{
    if (is_ahead(qmp, command)) {
        return 0;
    }
    int result = take_back(qmp, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_FREE char *text = encode_command(qmp, command, arguments);
    CLEANUP_FREE char *ahead = strdup(command);
    if (!text || !ahead) {
        return error_set_errno(err, ENOMEM, "cannot ask QEMU for %s", command);
    }
    result = send_text(qmp, text, strlen(text), NULL, err);
    if (result == 0) {
        qmp->ahead = steal_pointer(&ahead);
    }
    return result;
}

int qmp_send(struct qmp *qmp, const char *command, json_t *arguments, struct error *err)
{
    if (is_ahead(qmp, command)) {
        free(steal_pointer(&qmp->ahead));
        return send_text(qmp, "}", 1, NULL, err);
    }
    return send_command(qmp, command, arguments, NULL, err);
}

int qmp_next_event(struct qmp *qmp, uint64_t timeout_ns, json_t **ret_event, struct error *err)
{
    if (json_array_size(qmp->events) > 0) {
        *ret_event = json_incref(json_array_get(qmp->events, 0));
        json_array_remove(qmp->events, 0);
        return 1;
    }
    int result = next_message(qmp, clock_monotonic_ns() + timeout_ns, ret_event, err);
    if (result == -ETIMEDOUT) {
        return 0;
    }
    return result < 0 ? result : 1;
}

int qmp_discard_events(struct qmp *qmp, struct error *err)
{
    int result;
    do {
        CLEANUP_JSON json_t *event = NULL;
        result = qmp_next_event(qmp, 0, &event, err);
    } while (result > 0);
    return result;
}

int qmp_adopt(struct qmp *qmp, int fd, struct error *err)
{
    *qmp = (struct qmp){.fd = fd, .events = json_array()};
    return qmp->events ? 0 : error_set_errno(err, ENOMEM, "cannot use QEMU's monitor");
}

/* The socket appears a moment after QEMU was started. */
static int connect_patiently(const char *path, uint64_t deadline, struct error *err)
{
    for (;;) {
        int fd = socket_connect_unix(path, err);
        bool may_come = fd == -ENOENT || fd == -ECONNREFUSED;
        if (fd >= 0 || !may_come || clock_monotonic_ns() >= deadline) {
            return fd;
        }
        clock_sleep_ns(RETRY_NS);
    }
}

/* An event, or the reply to a command of who was connected before, and did not wait for it. */
static bool is_left_over(const json_t *message)
{
    return json_object_get(message, "event") || json_object_get(message, "return") ||
           json_object_get(message, "error");
}

/* What happened while nobody was connected may come first. */
static int await_greeting(struct qmp *qmp, uint64_t deadline, json_t **ret_greeting,
                          struct error *err)
{
    int result;
    while ((result = next_message(qmp, deadline, ret_greeting, err)) == 0 &&
           is_left_over(*ret_greeting)) {
        json_decref(*ret_greeting);
        *ret_greeting = NULL;
    }
    return result;
}

static int negotiate(struct qmp *qmp, uint64_t deadline, struct error *err)
{
    CLEANUP_JSON json_t *greeting = NULL;
    int result = await_greeting(qmp, deadline, &greeting, err);
    if (result == -ETIMEDOUT) {
        return error_set(err, ETIMEDOUT, "QEMU's monitor does not answer");
    }
    if (result < 0) {
        return result;
    }
    if (!json_object_get(greeting, "QMP")) {
        return error_set(err, EPROTO, "QEMU's monitor does not speak QMP");
    }
    return qmp_execute(qmp, "qmp_capabilities", NULL, QMP_TIMEOUT_NS, NULL, err);
}

int qmp_connect(struct qmp *qmp, const char *socket_path, uint64_t timeout_ns, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + timeout_ns;
    int fd = connect_patiently(socket_path, deadline, err);
    if (fd < 0) {
        *qmp = (struct qmp){.fd = -1};
        return fd;
    }
    int result = qmp_adopt(qmp, fd, err);
    if (result == 0) {
        result = negotiate(qmp, deadline, err);
    }
    if (result < 0) {
        qmp_done(qmp);
        return error_wrap(err, "%s", socket_path);
    }
    return 0;
}

int qmp_release(struct qmp *qmp)
{
    int fd = steal_fd(&qmp->fd);
    qmp_done(qmp);
    return fd;
}

void qmp_done(struct qmp *qmp)
{
    close_fd(&qmp->fd);
    buffer_done(&qmp->input);
    free(steal_pointer(&qmp->ahead));
    json_decref(qmp->events);
    qmp->events = NULL;
}
