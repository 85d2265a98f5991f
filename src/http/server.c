/* The HTTP server: see server.h. */
#include "http/server.h"

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/tls.h"
#include "http/server_internal.h"

#define CONNECTIONS_MOST 512
#define TLS_CONNECTIONS_MOST 384
#define HEADER_ROOM 512

/* A whole TLS record (16 KiB) is read at once: libwebsockets 4.1 on libuv does not come back for
 * the rest of one that OpenSSL has decrypted already, while no more arrives from the network. */
#define RECORD_ROOM 20480

/* ---- for all connections ---- */

int http_identify(const struct http_server *server, struct lws *wsi, struct caller *ret_caller,
                  struct error *err)
{
    return http_caller_identify(wsi, lws_get_vhost(wsi) == server->tcp, &server->admission,
                                ret_caller, err);
}

int http_check_access(const struct http_server *server, const struct caller *caller,
                      enum access access, struct error *err)
{
    const struct http_options *options = &server->options;
    bool is_peer = caller->kind == CALLER_HOST && options->is_peer(options->context, caller->name);
    return request_check_access(caller, access, is_peer, options->host, err);
}

int http_write_headers(struct lws *wsi, int status, size_t length)
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
    for (struct http_session *session = server->consoles; credentials && session;
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
    struct http_session *session = user;
    switch (reason) {
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: /* `user` is the context */
        return prepare_tls(lws_get_vhost_user(in), user);
    case LWS_CALLBACK_HTTP:
        return http_on_request(server, wsi, session);
    case LWS_CALLBACK_HTTP_BODY:
        return http_on_body(session->exchange, in, length);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return http_on_body_complete(session->exchange);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return http_on_writeable(session->exchange);
    case LWS_CALLBACK_CLOSED_HTTP:
        if (session) {
            http_on_closed(session);
            http_on_console_closed(server, session);
        }
        return 0;
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return http_on_handshake(server, wsi, session);
    case LWS_CALLBACK_ESTABLISHED:
        return http_on_console_open(server, wsi, session);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return session->console ? console_writeable(session->console) : 0;
    case LWS_CALLBACK_RECEIVE:
        return session->console ? console_received(session->console, in, length) : 0;
    case LWS_CALLBACK_CLOSED:
        http_on_console_closed(server, session);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "drover", .callback = callback, .per_session_data_size = sizeof(struct http_session)},
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
