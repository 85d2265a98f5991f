/* The HTTP server: see http.h. */
#include "agent/http.h"

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/console.h"
#include "agent/http_caller.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/tls.h"

#define CONNECTIONS_MOST 512
#define TLS_CONNECTIONS_MOST 384
#define WRITE_CHUNK 32768
#define HEADER_ROOM 512

/* A whole TLS record (16 KiB) is read at once: libwebsockets 4.1 on libuv does not come back for
 * the rest of one that OpenSSL has decrypted already, while no more arrives from the network. */
#define RECORD_ROOM 20480

struct session;

struct http_server {
    struct http_options options;
    uv_loop_t *loop;
    struct lws_context *lws;
    struct lws_vhost *tcp; /* NULL: none */
    struct http_admission admission;
    uv_async_t trust_changed;
    struct session *consoles; /* open ones */
};

/* COLLECTING -> WORKING -> ANSWERING; COLLECTING -> ANSWERING for what is refused at once. */
enum exchange_state { EXCHANGE_COLLECTING, EXCHANGE_WORKING, EXCHANGE_ANSWERING };

/* One request and its answer. */
struct exchange {
    struct http_server *server;
    struct lws *wsi; /* NULL once the client is gone */
    enum exchange_state state;
    const struct route *route;
    struct request request;
    struct buffer input;
    int status;
    char *answer; /* owned */
    size_t length;
    size_t sent;
    bool headers_sent;
    uv_work_t work;
};

/* What libwebsockets keeps for a connection. */
struct session {
    struct exchange *exchange;
    struct console *console;
    int console_fd; /* opened in the handshake; 0: none */
    char console_uuid[UUID_TEXT_SIZE];
    struct lws *wsi;      /* the console's */
    struct session *next; /* of those with a console */
};

static void exchange_free(struct exchange *exchange)
{
    if (exchange) {
        json_decref(exchange->request.body);
        buffer_done(&exchange->input);
        free(exchange->answer);
        free(exchange);
    }
}

/* ---- answers ---- */

static void set_answer(struct exchange *exchange, int status, const json_t *body)
{
    exchange->status = status;
    exchange->answer = json_dumps(body, JSON_COMPACT);
    exchange->length = exchange->answer ? strlen(exchange->answer) : 0;
}

static void set_error_answer(struct exchange *exchange, const struct error *err)
{
    CLEANUP_JSON json_t *body = json_from_error(err);
    set_answer(exchange, request_error_status(err->code), body);
}

static void start_answering(struct exchange *exchange)
{
    exchange->state = EXCHANGE_ANSWERING;
    lws_set_timeout(exchange->wsi, PENDING_TIMEOUT_HTTP_CONTENT, 20);
    lws_callback_on_writable(exchange->wsi);
}

static int refuse(struct exchange *exchange, const struct error *err)
{
    set_error_answer(exchange, err);
    start_answering(exchange);
    return 0;
}

static int write_headers(struct lws *wsi, int status, size_t length)
{
    unsigned char room[LWS_PRE + HEADER_ROOM];
    unsigned char *start = room + LWS_PRE;
    unsigned char *at = start;
    unsigned char *end = room + sizeof(room) - 1;
    if (lws_add_http_common_headers(wsi, (unsigned int)status, "application/json", length, &at,
                                    end) ||
        lws_add_http_header_by_name(wsi, (const unsigned char *)"connection:",
                                    (const unsigned char *)"close", 5, &at, end)) {
        return -1;
    }
    return lws_finalize_write_http_header(wsi, start, &at, end);
}

/* Writes the next piece; negative ends the connection: after the last byte, too. */
static int write_answer(struct exchange *exchange)
{
    if (!exchange->headers_sent) {
        exchange->headers_sent = true;
        if (write_headers(exchange->wsi, exchange->status, exchange->length) < 0) {
            return -1;
        }
        lws_callback_on_writable(exchange->wsi);
        return 0;
    }
    unsigned char room[LWS_PRE + WRITE_CHUNK];
    size_t left = exchange->length - exchange->sent;
    size_t piece = left < WRITE_CHUNK ? left : WRITE_CHUNK;
    memcpy(room + LWS_PRE, exchange->answer + exchange->sent, piece);
    if (lws_write(exchange->wsi, room + LWS_PRE, piece,
                  piece == left ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < (int)piece) {
        return -1;
    }
    exchange->sent += piece;
    if (exchange->sent == exchange->length) {
        return -1;
    }
    lws_set_timeout(exchange->wsi, PENDING_TIMEOUT_HTTP_CONTENT, 20);
    lws_callback_on_writable(exchange->wsi);
    return 0;
}

/* ---- on a worker, and back ---- */

static int parse_body(struct exchange *exchange, struct error *err)
{
    if (exchange->input.length == 0) {
        exchange->request.body = json_object();
        return 0;
    }
    json_t *body = json_parse((const char *)exchange->input.data, exchange->input.length,
                              "the request's body", err);
    if (!body) {
        return -err->code;
    }
    exchange->request.body = body;
    return json_is_object(body) ? 0
                                : error_set(err, EINVAL, "the request's body must be an object");
}

static void work(uv_work_t *work_item)
{
    struct exchange *exchange = work_item->data;
    struct response response = {.status = 200};
    struct error err = ERROR_NONE;
    int result = parse_body(exchange, &err);
    if (result == 0) {
        result = exchange->route->handler(exchange->server->options.context, &exchange->request,
                                          &response, &err);
    }
    if (result < 0) {
        set_error_answer(exchange, &err);
    } else {
        set_answer(exchange, response.status, response.body);
    }
    json_decref(response.body);
}

static void after_work(uv_work_t *work_item, int status)
{
    struct exchange *exchange = work_item->data;
    (void)status; /* never cancelled */
    if (exchange->wsi) {
        start_answering(exchange);
    } else {
        exchange_free(exchange);
    }
}

static int start_work(struct exchange *exchange)
{
    exchange->state = EXCHANGE_WORKING;
    exchange->work.data = exchange;
    lws_set_timeout(exchange->wsi, NO_PENDING_TIMEOUT, 0); /* handlers have limits of their own */
    return uv_queue_work(exchange->server->loop, &exchange->work, work, after_work);
}

/* ---- requests as they come in ---- */

static int identify(const struct http_server *server, struct lws *wsi, struct caller *ret_caller,
                    struct error *err)
{
    return http_caller_identify(wsi, lws_get_vhost(wsi) == server->tcp, &server->admission,
                                ret_caller, err);
}

static int check_access(const struct http_server *server, const struct caller *caller,
                        enum access access, struct error *err)
{
    const struct http_options *options = &server->options;
    bool is_peer = caller->kind == CALLER_HOST && options->is_peer(options->context, caller->name);
    return request_check_access(caller, access, is_peer, options->host, err);
}

/* Who may not call anything is not told what there is. */
static int find_route(struct exchange *exchange, struct error *err)
{
    const struct http_options *options = &exchange->server->options;
    struct request *request = &exchange->request;
    const struct route *route = route_find(options->routes, options->route_count, request, err);
    if (!route && request->caller.kind == CALLER_OPERATOR) {
        return -err->code;
    }
    int result =
        check_access(exchange->server, &request->caller, route ? route->access : ACCESS_PEER, err);
    if (result == 0 && !route) {
        result = -err->code;
    }
    exchange->route = result == 0 ? route : NULL;
    return result;
}

static int read_method(struct lws *wsi, struct request *request, struct error *err)
{
    char *path;
    int length;
    int method = lws_http_get_uri_and_method(wsi, &path, &length);
    switch (method) {
    case LWSHUMETH_GET:
        request->method = REQUEST_GET;
        break;
    case LWSHUMETH_POST:
        request->method = REQUEST_POST;
        break;
    case LWSHUMETH_DELETE:
        request->method = REQUEST_DELETE;
        break;
    default:
        return error_set(err, ENOSYS, "only GET, POST and DELETE are understood");
    }
    if (length >= REQUEST_PATH_SIZE) {
        return error_set(err, EINVAL, "the path is longer than %d characters",
                         REQUEST_PATH_SIZE - 1);
    }
    memcpy(request->path, path, (size_t)length);
    request->path[length] = '\0';
    return 0;
}

/* libwebsockets keeps "a=1&b=2" in pieces; joins them again. */
static int read_query(struct lws *wsi, struct request *request, struct error *err)
{
    size_t used = 0;
    char piece[REQUEST_QUERY_SIZE];
    for (int i = 0;; i++) {
        int length = lws_hdr_copy_fragment(wsi, piece, sizeof(piece), WSI_TOKEN_HTTP_URI_ARGS, i);
        if (length <= 0) {
            return length == -2 ? error_set(err, EINVAL, "the query is too long") : 0;
        }
        int put = snprintf(request->query + used, sizeof(request->query) - used, "%s%s",
                           used > 0 ? "&" : "", piece);
        used += (size_t)put;
        if (used >= sizeof(request->query)) {
            return error_set(err, EINVAL, "the query is longer than %zu characters",
                             sizeof(request->query) - 1);
        }
    }
}

/* The announced length of the body; 0 without one. */
static int read_body_length(struct lws *wsi, size_t *ret_length, struct error *err)
{
    char text[32];
    char *end;
    *ret_length = 0;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0) {
        return error_set(err, EINVAL, "a body must come with Content-Length, not in chunks");
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0) {
        return 0;
    }
    if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0) {
        return error_set(err, EINVAL, "Content-Length is not a number");
    }
    errno = 0;
    unsigned long long length = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || text[0] == '-') {
        return error_set(err, EINVAL, "Content-Length is not a number");
    }
    if (length > REQUEST_BODY_MOST) {
        return error_set(err, EMSGSIZE, "the request is larger than %zu bytes", REQUEST_BODY_MOST);
    }
    *ret_length = (size_t)length;
    return 0;
}

/* Headers are complete: all that can be judged before the body. */
static int read_request(struct exchange *exchange, size_t *ret_body_length, struct error *err)
{
    int result = identify(exchange->server, exchange->wsi, &exchange->request.caller, err);
    if (result == 0) {
        result = read_method(exchange->wsi, &exchange->request, err);
    }
    if (result == 0) {
        result = read_query(exchange->wsi, &exchange->request, err);
    }
    if (result == 0) {
        result = find_route(exchange, err);
    }
    return result < 0 ? result : read_body_length(exchange->wsi, ret_body_length, err);
}

static int on_request(struct http_server *server, struct lws *wsi, struct session *session)
{
    struct error err = ERROR_NONE;
    size_t body_length = 0;
    if (session->exchange) {
        return -1; /* a second request on a connection that we said we close */
    }
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (!exchange) {
        return -1;
    }
    exchange->server = server;
    exchange->wsi = wsi;
    session->exchange = exchange;
    if (read_request(exchange, &body_length, &err) < 0) {
        return refuse(exchange, &err);
    }
    return body_length > 0 ? 0 : start_work(exchange);
}

static int on_body(struct exchange *exchange, const void *bytes, size_t length)
{
    if (!exchange || exchange->state != EXCHANGE_COLLECTING) {
        return 0; /* the rest of what was refused */
    }
    if (exchange->input.length + length > REQUEST_BODY_MOST) {
        struct error err = ERROR_NONE;
        error_set(&err, EMSGSIZE, "the request is larger than %zu bytes", REQUEST_BODY_MOST);
        return refuse(exchange, &err);
    }
    return buffer_append(&exchange->input, bytes, length);
}

static int on_body_complete(struct exchange *exchange)
{
    return exchange && exchange->state == EXCHANGE_COLLECTING ? start_work(exchange) : 0;
}

/* The client is gone: a worker may still hold the exchange. */
static void on_closed(struct session *session)
{
    struct exchange *exchange = session->exchange;
    session->exchange = NULL;
    if (exchange && exchange->state == EXCHANGE_WORKING) {
        exchange->wsi = NULL;
    } else {
        exchange_free(exchange);
    }
}

/* ---- WebSocket: consoles ---- */

static int open_console(struct http_server *server, struct lws *wsi, char uuid[UUID_TEXT_SIZE],
                        struct error *err)
{
    char path[REQUEST_PATH_SIZE];
    char parameters[REQUEST_PARAMETERS_MOST][REQUEST_PARAMETER_SIZE];
    struct caller caller;
    int result = identify(server, wsi, &caller, err);
    if (result == 0) {
        result = check_access(server, &caller, ACCESS_OPERATOR, err);
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
        write_headers(wsi, request_error_status(err->code), length) >= 0) {
        lws_write(wsi, room + LWS_PRE, length, LWS_WRITE_HTTP_FINAL);
    }
    return -1;
}

static bool is_in_use(const struct http_server *server, const char *uuid)
{
    const struct session *session = server->consoles;
    while (session && strcmp(session->console_uuid, uuid) != 0) {
        session = session->next;
    }
    return session != NULL;
}

static void forget_console(struct http_server *server, const struct session *session)
{
    struct session **link = &server->consoles;
    while (*link && *link != session) {
        link = &(*link)->next;
    }
    if (*link) {
        *link = session->next;
    }
}

static int on_handshake(struct http_server *server, struct lws *wsi, struct session *session)
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

static int on_console_open(struct http_server *server, struct lws *wsi, struct session *session)
{
    session->console = console_new(server->loop, wsi, session->console_fd);
    session->console_fd = 0;
    return session->console ? 0 : -1;
}

static void on_console_closed(struct http_server *server, struct session *session)
{
    forget_console(server, session);
    console_free(session->console);
    session->console = NULL;
    if (session->console_fd > 0) {
        close(session->console_fd);
        session->console_fd = 0;
    }
}

/* ---- TLS ---- */

/* On a connection's first message: with the credentials of this moment. */
static int on_hello(SSL *connection, int *alert, void *context)
{
    struct http_server *server = context;
    struct error err = ERROR_NONE;
    struct tls_credentials *credentials = trust_credentials(server->options.trust, &err);
    int result = credentials ? tls_serve(connection, credentials) : -err.code;
    tls_credentials_unref(credentials);
    *alert = SSL_AD_INTERNAL_ERROR;
    return result < 0 ? SSL_CLIENT_HELLO_ERROR : SSL_CLIENT_HELLO_SUCCESS;
}

static int prepare_tls(struct http_server *server, SSL_CTX *context)
{
    struct error err = ERROR_NONE;
    if (tls_context_restrict(context, &err) < 0) {
        log_error("%s", err.message);
        return -1;
    }
    SSL_CTX_set_client_hello_cb(context, on_hello, server);
    return 0;
}

static bool is_still_accepted(const struct tls_credentials *credentials, struct lws *wsi)
{
    X509 *certificate = SSL_get0_peer_certificate(lws_get_ssl(wsi));
    return !certificate || tls_credentials_accept(credentials, certificate);
}

/* Requests are short; what lasts are consoles. */
static void on_trust_changed(uv_async_t *async)
{
    struct http_server *server = async->data;
    struct tls_credentials *credentials = trust_credentials(server->options.trust, NULL);
    for (struct session *session = server->consoles; credentials && session;
         session = session->next) {
        if (lws_get_vhost(session->wsi) == server->tcp &&
            !is_still_accepted(credentials, session->wsi)) {
            lws_set_timeout(session->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
        }
    }
    tls_credentials_unref(credentials);
}

/* From any thread. */
static void tell_trust_changed(void *context)
{
    struct http_server *server = context;
    uv_async_send(&server->trust_changed);
}

/* ---- libwebsockets ---- */

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t length)
{
    struct http_server *server = lws_context_user(lws_get_context(wsi));
    struct session *session = user;
    switch (reason) {
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: /* `user` is the context */
        return prepare_tls(lws_get_vhost_user(in), user);
    case LWS_CALLBACK_HTTP:
        return on_request(server, wsi, session);
    case LWS_CALLBACK_HTTP_BODY:
        return on_body(session->exchange, in, length);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return on_body_complete(session->exchange);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return session->exchange && session->exchange->state == EXCHANGE_ANSWERING
                   ? write_answer(session->exchange)
                   : 0;
    case LWS_CALLBACK_CLOSED_HTTP:
        if (session) {
            on_closed(session);
            on_console_closed(server, session);
        }
        return 0;
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return on_handshake(server, wsi, session);
    case LWS_CALLBACK_ESTABLISHED:
        return on_console_open(server, wsi, session);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return session->console ? console_writeable(session->console) : 0;
    case LWS_CALLBACK_RECEIVE:
        return session->console ? console_received(session->console, in, length) : 0;
    case LWS_CALLBACK_CLOSED:
        on_console_closed(server, session);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "drover", .callback = callback, .per_session_data_size = sizeof(struct session)},
    {.name = NULL},
};

static void forward_log(int level, const char *line)
{
    (void)level;
    log_debug("libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static struct lws_context *make_context(struct http_server *server)
{
    void *loops[] = {server->loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
        .simultaneous_ssl_restriction = TLS_CONNECTIONS_MOST,
        .foreign_loops = loops,
        .user = server,
        .max_http_header_data = 4096,
        .pt_serv_buf_size = RECORD_ROOM,
        .max_http_header_pool = CONNECTIONS_MOST,
        .fd_limit_per_thread = CONNECTIONS_MOST,
        .timeout_secs = 20,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
    };
    lws_set_log_level(LLL_ERR | LLL_WARN, forward_log);
    return lws_create_context(&info);
}

static int listen_unix(struct http_server *server, struct error *err)
{
    const char *path = server->options.socket_path;
    struct lws_context_creation_info info = {
        .vhost_name = "unix",
        .iface = path,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_UNIX_SOCK,
        .timeout_secs = 20,
    };
    unlink(path);
    gid_t group = server->admission.group;
    mode_t before = umask(0177);
    struct lws_vhost *vhost = lws_create_vhost(server->lws, &info);
    umask(before);
    if (!vhost || chown(path, 0, group) < 0 || chmod(path, group ? 0660 : 0600) < 0) {
        return error_set(err, EIO, "cannot listen on the UNIX socket %s", path);
    }
    return 0;
}

static int listen_tcp(struct http_server *server, struct error *err)
{
    const struct http_options *options = &server->options;
    struct lws_context_creation_info info = {
        .vhost_name = "tcp",
        .iface = options->listen_address,
        .port = options->listen_port,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX,
        .alpn = "http/1.1",
        .user = server,
        .timeout_secs = 20,
    };
    if (!options->listen_address) {
        return 0;
    }
    if (!strchr(options->listen_address, ':')) {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6; /* else it listens on all addresses */
    }
    server->tcp = lws_create_vhost(server->lws, &info);
    if (!server->tcp) {
        error_set(err, EADDRINUSE, "cannot listen on %s port %u", options->listen_address,
                  options->listen_port);
        return error_remedy(err, "is the address this host's, and the port free?");
    }
    return 0;
}

int http_server_start(uv_loop_t *loop, const struct http_options *options,
                      struct http_server **ret_server, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (!server) {
        return error_set_errno(err, ENOMEM, "cannot start the HTTP server");
    }
    server->options = *options;
    server->loop = loop;
    server->admission = (struct http_admission){
        .token = options->token, .group = options->group ? http_caller_group(options->group) : 0};
    server->trust_changed.data = server;
    uv_async_init(loop, &server->trust_changed, on_trust_changed);
    server->lws = make_context(server);
    int result = server->lws ? listen_unix(server, err)
                             : error_set(err, EIO, "cannot start libwebsockets on libuv");
    if (result == 0) {
        result = listen_tcp(server, err);
    }
    if (result < 0) {
        http_server_free(server);
        return result;
    }
    trust_on_change(options->trust, tell_trust_changed, server);
    *ret_server = server;
    return 0;
}

void http_server_free(struct http_server *server)
{
    if (!server) {
        return;
    }
    if (server->lws) {
        lws_context_destroy(server->lws);
    }
    unlink(server->options.socket_path);
    free(server);
}
