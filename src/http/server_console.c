/* Consoles over WebSockets, from handshake to end: see server.h and console.h. */
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "http/server_internal.h"

static int open_console(struct http_server *server, struct lws *wsi, char uuid[UUID_TEXT_SIZE],
                        struct error *err)
{
    char path[REQUEST_PATH_SIZE];
    char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE];
    struct caller caller;
    int result = http_identify(server, wsi, &caller, err);
    if (result == 0) {
        result = http_check_access(server, &caller, ACCESS_OPERATOR, err);
    }
    if (result < 0) {
        return result;
    }
    if (lws_hdr_copy(wsi, path, sizeof(path), WSI_TOKEN_GET_URI) <= 0 ||
        !route_match(HTTP_CONSOLE_PATTERN, path, parameters)) {
        return error_set(err, ENOENT, "there is no WebSocket here");
    }
    return server->options.open_console(server->options.context, parameters[0], uuid, err);
}

/* A handshake that is refused gets a plain HTTP answer. */
static int refuse_handshake(struct lws *wsi, const struct error *err)
{
    CLEANUP_JSON json_t *body = json_from_error(err);
    unsigned char room[LWS_PRE + 2048];
    size_t length = json_dumpb(body, (char *)room + LWS_PRE, sizeof(room) - LWS_PRE, JSON_COMPACT);
    if (length <= sizeof(room) - LWS_PRE &&
        http_write_headers(wsi, request_error_status(err->code), length) >= 0) {
        lws_write(wsi, room + LWS_PRE, length, LWS_WRITE_HTTP_FINAL);
    }
    return -1;
}

static bool is_in_use(const struct http_server *server, const char *uuid)
{
    const struct http_session *session = server->consoles;
    while (session && strcmp(session->console_uuid, uuid) != 0) {
        session = session->next;
    }
    return session != NULL;
}

static void forget_console(struct http_server *server, const struct http_session *session)
{
    struct http_session **link = &server->consoles;
    while (*link && *link != session) {
        link = &(*link)->next;
    }
    if (*link) {
        *link = session->next;
    }
}

int http_on_handshake(struct http_server *server, struct lws *wsi, struct http_session *session)
{
    struct error err = ERROR_NONE;
    char uuid[UUID_TEXT_SIZE];
    CLEANUP_CLOSE int fd = open_console(server, wsi, uuid, &err);
    if (fd >= 0 && is_in_use(server, uuid)) {
        error_set(&err, EBUSY, "the console of this VM is in use by another client");
        error_remedy(&err, "close it there first");
    }
    if (err.code) {
        return refuse_handshake(wsi, &err);
    }
    session->console_fd = steal_fd(&fd);
    strcpy(session->console_uuid, uuid);
    session->wsi = wsi;
    session->next = server->consoles;
    server->consoles = session;
    return 0;
}

int http_on_console_open(struct http_server *server, struct lws *wsi, struct http_session *session)
{
    session->console = console_new(server->loop, wsi, session->console_fd);
    session->console_fd = 0;
    return session->console ? 0 : -1;
}

void http_on_console_closed(struct http_server *server, struct http_session *session)
{
    forget_console(server, session);
    console_free(session->console);
    session->console = NULL;
    if (session->console_fd > 0) {
        close(session->console_fd);
        session->console_fd = 0;
    }
}
