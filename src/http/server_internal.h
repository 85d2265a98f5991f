/*
 * The server, shared by its files:
 *
 *   server.c            listening, TLS, libwebsockets' calls
 *   server_exchange.c   a request and its answer
 *   server_console.c    the consoles' handshakes and ends
 *
 * All of it on the loop, but for what server_exchange.c hands to a worker.
 */
#pragma once

#include <libwebsockets.h>

#include "http/caller.h"
#include "http/console.h"
#include "http/server.h"

struct http_exchange;
struct http_session;

struct http_server {
    struct http_options options;
    uv_loop_t *loop;
    struct lws_context *lws;
    struct lws_vhost *tcp; /* NULL: none */
    struct http_admission admission;
    uv_async_t trust_changed;
    struct http_session *consoles; /* open ones */
};

/* What libwebsockets keeps for a connection. */
struct http_session {
    struct http_exchange *exchange;
    struct console *console;
    int console_fd; /* opened in the handshake; 0: none */
    char console_uuid[UUID_TEXT_SIZE];
    struct lws *wsi;           /* the console's */
    struct http_session *next; /* of those with a console */
};

/* ---- server.c ---- */

/* Who is at the other end. */
int http_identify(const struct http_server *server, struct lws *wsi, struct caller *ret_caller,
                  struct error *err);
/* Whether he may. */
int http_check_access(const struct http_server *server, const struct caller *caller,
                      enum access access, struct error *err);
/* Answers below 0 end the connection, here and below. */
int http_write_headers(struct lws *wsi, int status, size_t length);

/* ---- server_exchange.c: what happens to a request's connection ---- */
int http_on_request(struct http_server *server, struct lws *wsi, struct http_session *session);
int http_on_body(struct http_exchange *exchange, const void *bytes, size_t length);
int http_on_body_complete(struct http_exchange *exchange);
int http_on_writeable(struct http_exchange *exchange);
void http_on_closed(struct http_session *session);

/* ---- server_console.c: what happens to a console's ---- */
int http_on_handshake(struct http_server *server, struct lws *wsi, struct http_session *session);
int http_on_console_open(struct http_server *server, struct lws *wsi, struct http_session *session);
void http_on_console_closed(struct http_server *server, struct http_session *session);
