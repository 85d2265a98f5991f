/*
 * The HTTP server: libwebsockets on libuv's loop, in the main thread.
 *
 * Theory of operation: the loop collects a request (a bounded body), finds its route and hands it
 * to a worker (uv_queue_work), which runs the handler as a plain blocking function; the loop then
 * writes the answer and closes the connection. A client that goes away leaves its exchange to the
 * worker, which finishes and drops the answer. Everything but handlers runs on the loop, so nothing
 * here is locked.
 *
 * Over TCP all is TLS 1.3 (base/tls.h). Each connection takes the credentials that are in force
 * when it begins; consoles of operators whose certificate is revoked are closed.
 *
 * Limits: 1 MiB of body, 4 KiB of headers, 512 connections, of which TCP may have 384, so that a
 * flood leaves the UNIX socket alone; 20 s of silence while a connection is made or a request
 * arrives.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "base/uuid.h"
#include "http/request.h"
#include "http/trust.h"

#define HTTP_CONSOLE_PATTERN "/v1/vms/{}/console"

struct http_server;

struct http_options {
    const char *socket_path;    /* UNIX socket, for root and the group */
    const char *group;          /* its name; NULL, or not on this machine: root only */
    const char *listen_address; /* NULL: no TCP */
    uint16_t listen_port;
    const char *token;   /* an operator's, over TCP, in place of a certificate; empty: none */
    const char *host;    /* who we are, for errors */
    struct trust *trust; /* our certificate, over TCP */
    const struct route *routes;
    size_t route_count;
    void *context; /* for handlers and what follows */

    /* Whether a host with a certificate of the cluster is one of our peers. */
    bool (*is_peer)(void *context, const char *host);

    /* A non-blocking socket to a VM's serial console, and the VM's UUID; on the loop. */
    int (*open_console)(void *context, const char *vm, char ret_uuid[UUID_TEXT_SIZE],
                        struct error *err);
};

/* Listens. `options` is copied, what it points to must outlive the server. */
int http_server_start(uv_loop_t *loop, const struct http_options *options,
                      struct http_server **ret_server, struct error *err);

/* Closes all connections; takes NULL. */
void http_server_free(struct http_server *server);
