/* A request and its answer: see server.h. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "http/server_internal.h"

#define WRITE_CHUNK 32768

/* COLLECTING -> WORKING -> ANSWERING; COLLECTING -> ANSWERING for what is refused at once. */
enum exchange_state { EXCHANGE_COLLECTING, EXCHANGE_WORKING, EXCHANGE_ANSWERING };

/* One request and its answer. */
struct http_exchange {
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

static void exchange_free(struct http_exchange *exchange)
{
    if (exchange) {
        json_decref(exchange->request.body);
        buffer_done(&exchange->input);
        free(exchange->answer);
        free(exchange);
    }
}

/* ---- answers ---- */

static void set_answer(struct http_exchange *exchange, int status, const json_t *body)
{
    exchange->status = status;
    exchange->answer = json_dumps(body, JSON_COMPACT);
    exchange->length = exchange->answer ? strlen(exchange->answer) : 0;
}

static void set_error_answer(struct http_exchange *exchange, const struct error *err)
{
    CLEANUP_JSON json_t *body = json_from_error(err);
    set_answer(exchange, request_error_status(err->code), body);
}

static void start_answering(struct http_exchange *exchange)
{
    exchange->state = EXCHANGE_ANSWERING;
    lws_set_timeout(exchange->wsi, PENDING_TIMEOUT_HTTP_CONTENT, 20);
    lws_callback_on_writable(exchange->wsi);
}

static int refuse(struct http_exchange *exchange, const struct error *err)
{
    set_error_answer(exchange, err);
    start_answering(exchange);
    return 0;
}

/* Writes the next piece; negative ends the connection: after the last byte, too. */
static int write_answer(struct http_exchange *exchange)
{
    if (!exchange->headers_sent) {
        exchange->headers_sent = true;
        if (http_write_headers(exchange->wsi, exchange->status, exchange->length) < 0) {
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

static int parse_body(struct http_exchange *exchange, struct error *err)
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
    struct http_exchange *exchange = work_item->data;
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
    struct http_exchange *exchange = work_item->data;
    (void)status; /* never cancelled */
    if (exchange->wsi) {
        start_answering(exchange);
    } else {
        exchange_free(exchange);
    }
}

static int start_work(struct http_exchange *exchange)
{
    exchange->state = EXCHANGE_WORKING;
    exchange->work.data = exchange;
    lws_set_timeout(exchange->wsi, NO_PENDING_TIMEOUT, 0); /* handlers have limits of their own */
    return uv_queue_work(exchange->server->loop, &exchange->work, work, after_work);
}

/* ---- requests as they come in ---- */

/* Who may not call anything is not told what there is. */
static int find_route(struct http_exchange *exchange, struct error *err)
{
    const struct http_options *options = &exchange->server->options;
    struct request *request = &exchange->request;
    const struct route *route = route_find(options->routes, options->route_count, request, err);
    if (!route && request->caller.kind == CALLER_OPERATOR) {
        return -err->code;
    }
    int result = http_check_access(exchange->server, &request->caller,
                                   route ? route->access : ACCESS_PEER, err);
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
static int read_request(struct http_exchange *exchange, size_t *ret_body_length, struct error *err)
{
    int result = http_identify(exchange->server, exchange->wsi, &exchange->request.caller, err);
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

int http_on_request(struct http_server *server, struct lws *wsi, struct http_session *session)
{
    struct error err = ERROR_NONE;
    size_t body_length = 0;
    if (session->exchange) {
        return -1; /* a second request on a connection that we said we close */
    }
    struct http_exchange *exchange = calloc(1, sizeof(*exchange));
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

int http_on_body(struct http_exchange *exchange, const void *bytes, size_t length)
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

int http_on_body_complete(struct http_exchange *exchange)
{
    return exchange && exchange->state == EXCHANGE_COLLECTING ? start_work(exchange) : 0;
}

int http_on_writeable(struct http_exchange *exchange)
{
    return exchange && exchange->state == EXCHANGE_ANSWERING ? write_answer(exchange) : 0;
}

/* The client is gone: a worker may still hold the exchange. */
void http_on_closed(struct http_session *session)
{
    struct http_exchange *exchange = session->exchange;
    session->exchange = NULL;
    if (exchange && exchange->state == EXCHANGE_WORKING) {
        exchange->wsi = NULL;
    } else {
        exchange_free(exchange);
    }
}
