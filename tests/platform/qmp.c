/* See qmp.h. */
#include "qmp.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "support.h"

#define PATIENCE_SECONDS 10

static json_t *read_message(struct qmp *qmp)
{
    json_error_t error;
    json_t *message = json_loadf(qmp->input, JSON_DISABLE_EOF_CHECK, &error);

    if (!message)
        fail_msg("QEMU ended, or said nothing for %d s: %s", PATIENCE_SECONDS, error.text);
    return message;
}

/* Reads on to the next answer; events on the way are kept. */
static json_t *read_answer(struct qmp *qmp)
{
    for (;;) {
        json_t *message = read_message(qmp);

        if (!json_object_get(message, "event"))
            return message;
        json_array_append_new(qmp->events, message);
    }
}

void qmp_start(struct qmp *qmp, int fd)
{
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};

    *qmp = (struct qmp){.fd = fd, .input = fdopen(dup(fd), "r"), .events = json_array()};
    platform_must(qmp->input && qmp->events, "QMP connection");
    platform_must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0,
                  "SO_RCVTIMEO");
    json_decref(read_message(qmp));
    qmp_do(qmp, "qmp_capabilities", NULL);
}

void qmp_stop(struct qmp *qmp)
{
    if (qmp->input)
        fclose(qmp->input);
    close(qmp->fd);
    json_decref(qmp->events);
    *qmp = (struct qmp){0};
}

/* Sends the command's text, with a descriptor if `passed` is not negative. */
static void send_command(struct qmp *qmp, const char *command, json_t *arguments, int passed)
{
    json_t *request = json_pack("{s:s, s:o*}", "execute", command, "arguments", arguments);
    char *text = json_dumps(request, JSON_COMPACT);
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (passed >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        CMSG_FIRSTHDR(&message)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&message)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &passed, sizeof(int));
    }
    platform_must(sendmsg(qmp->fd, &message, MSG_NOSIGNAL) == (ssize_t)part.iov_len, command);
    free(text);
    json_decref(request);
}

json_t *qmp_try(struct qmp *qmp, const char *command, json_t *arguments)
{
    send_command(qmp, command, arguments, -1);
    return read_answer(qmp);
}

static json_t *result_of(json_t *answer, const char *command)
{
    json_t *result = json_incref(json_object_get(answer, "return"));

    if (!result) {
        json_t *error = json_object_get(answer, "error");

        fail_msg("%s: %s", command, json_string_value(json_object_get(error, "desc")));
    }
    json_decref(answer);
    return result;
}

json_t *qmp_run(struct qmp *qmp, const char *command, json_t *arguments)
{
    return result_of(qmp_try(qmp, command, arguments), command);
}

void qmp_do(struct qmp *qmp, const char *command, json_t *arguments)
{
    json_decref(qmp_run(qmp, command, arguments));
}

void qmp_give(struct qmp *qmp, const char *name, int fd)
{
    send_command(qmp, "getfd", json_pack("{s:s}", "fdname", name), fd);
    json_decref(result_of(read_answer(qmp), "getfd"));
}

static bool is_event(const json_t *event, const char *name, const char *status)
{
    const json_t *data = json_object_get(event, "data");
    const char *given = json_string_value(json_object_get(data, "status"));

    if (strcmp(json_string_value(json_object_get(event, "event")), name) != 0)
        return false;
    return !status || (given && strcmp(given, status) == 0);
}

void qmp_expect(struct qmp *qmp, const char *name, const char *status)
{
    for (bool found = false; !found;) {
        if (json_array_size(qmp->events) == 0)
            json_array_append_new(qmp->events, read_message(qmp));
        found = is_event(json_array_get(qmp->events, 0), name, status);
        json_array_remove(qmp->events, 0);
    }
}
