/* The API client: see api.h. */
#include "cli/api.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/tls.h"

#define ANSWER_BYTES_MOST (16u << 20)
#define TOKEN_BYTES_MOST 4096
#define CONNECT_SECONDS 10L

struct api {
    CURL *curl;
    char *connect;                       /* as the user wrote it, for messages */
    char *socket_path;                   /* NULL: TLS */
    char *base_url;                      /* "http://localhost" or "https://HOST:PORT" */
    char *token;                         /* NULL: none */
    struct tls_credentials *credentials; /* NULL: over a UNIX socket, or pinned */
    const char *pinned_fingerprint;      /* NULL: not pinned */
    const char *pinned_host;
    struct error trouble; /* of the TLS context */
    char reason[CURL_ERROR_SIZE];
};

static int refuse_connect(const char *connect, struct error *err)
{
    error_set(err, EINVAL, "\"%s\" is no address of an agent", connect);
    return error_remedy(err, "write unix:PATH or https://HOST:PORT");
}

/* Takes only a scheme, a host and a port: no user, path or query that would be sent somewhere. */
static int check_url(const char *connect, struct error *err)
{
    CURLU *url = curl_url();
    char *host = NULL;
    char *port = NULL;
    char *path = NULL;
    char *user = NULL;
    char *query = NULL;
    bool good = url && curl_url_set(url, CURLUPART_URL, connect, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_PORT, &port, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
                strcmp(path, "/") == 0 && !strchr(connect, '#') &&
                curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
                curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_NO_QUERY;
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_free(user);
    curl_free(query);
    curl_url_cleanup(url);
    return good ? 0 : refuse_connect(connect, err);
}

/* What follows a prefix; NULL for a text without it. */
static const char *text_after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

static int set_address(struct api *api, const char *connect, struct error *err)
{
    const char *path = text_after(connect, "unix:");
    if (path && path[0]) {
        api->socket_path = strdup(path);
        api->base_url = strdup("http://localhost");
    } else if (strncmp(connect, "http://", 7) == 0) {
        error_set(err, EINVAL, "agents do not talk without TLS, as %s would", connect);
        return error_remedy(err, "write https://%s", connect + 7);
    } else if (strncmp(connect, "https://", 8) == 0) {
        int result = check_url(connect, err);
        if (result < 0) {
            return result;
        }
        size_t length = strlen(connect);
        api->base_url = strndup(connect, length - (connect[length - 1] == '/'));
    } else {
        return refuse_connect(connect, err);
    }
    api->connect = strdup(connect);
    return api->base_url && api->connect ? 0 : error_set_errno(err, ENOMEM, "cannot connect");
}

static int read_token(struct api *api, const char *path, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    if (file_read(path, TOKEN_BYTES_MOST, &content, err) < 0) {
        return error_wrap(err, "cannot read the token");
    }
    char *text = (char *)content.data;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        text[--length] = '\0';
    }
    for (size_t i = 0; i < length; i++) {
        if (!isgraph((unsigned char)text[i])) {
            return error_set(err, EINVAL, "%s holds no token: it has blanks or control characters",
                             path);
        }
    }
    if (length == 0) {
        return error_set(err, EINVAL, "%s holds no token: it is empty", path);
    }
    api->token = strdup(text);
    return api->token ? 0 : error_set_errno(err, ENOMEM, "cannot read the token");
}

static int load_credentials(struct api *api, const char *folder, struct error *err)
{
    int result = tls_credentials_load(folder, TLS_ROLE_OPERATOR, &api->credentials, err);
    if (result == -ENOENT) {
        error_remedy(err, "get certificates with \"drover ca join\", or name their folder with "
                          "--tls or DROVER_TLS");
    }
    return result;
}

int api_new(const struct api_options *options, struct api **ret_api, struct error *err)
{
    struct api *api = calloc(1, sizeof(*api));
    if (!api) {
        return error_set_errno(err, ENOMEM, "cannot connect");
    }
    int result = set_address(api, options->connect ? options->connect : API_DEFAULT_CONNECT, err);
    if (result == 0 && options->token_file) {
        result = read_token(api, options->token_file, err);
    }
    if (result == 0 && !api->socket_path) {
        const char *folder = options->tls_folder ? options->tls_folder : API_DEFAULT_TLS;
        result = load_credentials(api, folder, err);
    }
    if (result < 0) {
        api_free(api);
        return result;
    }
    *ret_api = api;
    return 0;
}

int api_new_pinned(const char *connect, const char *fingerprint, const char *host,
                   struct api **ret_api, struct error *err)
{
    struct api *api = calloc(1, sizeof(*api));
    if (!api) {
        return error_set_errno(err, ENOMEM, "cannot connect");
    }
    int result = set_address(api, connect, err);
    if (result == 0 && api->socket_path) {
        result = refuse_connect(connect, err);
    }
    if (result < 0) {
        api_free(api);
        return result;
    }
    api->pinned_fingerprint = fingerprint;
    api->pinned_host = host;
    *ret_api = api;
    return 0;
}

void api_free(struct api *api)
{
    if (!api) {
        return;
    }
    curl_easy_cleanup(api->curl);
    free(api->connect);
    free(api->socket_path);
    free(api->base_url);
    free(api->token);
    tls_credentials_unref(api->credentials);
    free(api);
}

int api_is_local(const struct api *api)
{
    return api->socket_path != NULL;
}

const char *api_host(const struct api *api)
{
    return strstr(api->base_url, "://") + strlen("://");
}

const char *api_token(const struct api *api)
{
    return api->token;
}

/* libcurl has made the context, and nobody has connected yet. */
static CURLcode prepare_tls(CURL *curl, void *context, void *user)
{
    struct api *api = user;
    (void)curl;
    int result = api->credentials ? tls_connect(context, api->credentials, NULL, &api->trouble)
                                  : tls_connect_pinned(context, api->pinned_fingerprint,
                                                       api->pinned_host, &api->trouble);
    return result == 0 ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

/* Whoever is pinned is checked by name there; the address in the URL is only where it is. */
static void prepare_https(struct api *api, CURL *curl)
{
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(curl, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, api->pinned_host ? 0L : 2L);
    curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, api);
}

/* What every connection has in common: no proxy, no redirect, nothing but HTTP to this address. */
static void prepare(struct api *api, CURL *curl)
{
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, api->reason);
    api->reason[0] = '\0';
    if (api->socket_path) {
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, api->socket_path);
    } else {
        prepare_https(api, curl);
    }
}

static int explain_connect(const struct api *api, CURL *curl, struct error *err)
{
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &code);
    if (code == EACCES || code == EPERM) {
        error_set(err, EACCES, "you may not talk to the agent at %s", api->connect);
        return error_remedy(err, "run this as root, or as a member of the group drover");
    }
    error_set(err, ECONNREFUSED, "no agent answers at %s", api->connect);
    return error_remedy(err, "start it on that host (systemctl start droverd), or name another "
                             "with --connect or DROVER_CONNECT");
}

static int explain_distrust(const struct api *api, const char *reason, struct error *err)
{
    error_set(err, EACCES, "the agent at %s and you do not trust each other: %s", api->connect,
              reason);
    return error_remedy(err, api->pinned_host
                                 ? "is that the host that made the token, and the token recent?"
                                 : "name the host as its certificate does, and see --tls for "
                                   "yours: who was revoked has to join again");
}

static int explain_failure(const struct api *api, CURL *curl, CURLcode code, struct error *err)
{
    char alert[128];
    if (tls_alert_words(api->reason, alert, sizeof(alert))) {
        return explain_distrust(api, alert, err);
    }
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
        return explain_distrust(api, api->trouble.code ? api->trouble.message : api->reason, err);
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return explain_connect(api, curl, err);
    case CURLE_OPERATION_TIMEDOUT:
        error_set(err, ETIMEDOUT, "the agent at %s does not answer in time", api->connect);
        return error_remedy(err, "look at its log (journalctl -u droverd)");
    case CURLE_WRITE_ERROR:
        return error_set(err, EPROTO, "the agent at %s sends more than any answer has",
                         api->connect);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        error_set(err, ECONNRESET,
                  "the agent at %s ended the connection in the middle of its answer", api->connect);
        return error_remedy(err, "look whether it was restarted (journalctl -u droverd)");
    default:
        return error_set(err, EPROTO, "what answers at %s is no agent: %s", api->connect,
                         curl_easy_strerror(code));
    }
}

static size_t receive(char *bytes, size_t size, size_t count, void *context)
{
    struct buffer *answer = context;
    if (answer->length + size * count > ANSWER_BYTES_MOST ||
        buffer_append(answer, bytes, size * count) < 0) {
        return 0;
    }
    return size * count;
}

/* What a status means when the body does not say it better. */
static int status_code(long status)
{
    static const struct {
        long status;
        int code;
    } rows[] = {{400, EINVAL}, {401, EACCES},       {403, EACCES},    {404, ENOENT}, {409, EBUSY},
                {413, E2BIG},  {503, EHOSTUNREACH}, {504, ETIMEDOUT}, {507, ENOSPC}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].status == status) {
            return rows[i].code;
        }
    }
    return EIO;
}

int api_explain_refusal(const struct api *api, long status, const json_t *answer, struct error *err)
{
    const json_t *inner = json_object_get(answer, "error");
    if (json_is_string(json_object_get(inner, "message"))) {
        json_to_error(answer, err);
        json_int_t code = json_integer_value(json_object_get(inner, "code"));
        err->code = code > 0 && code < 4096 ? (int)code : status_code(status);
    } else {
        error_set(err, status_code(status), "the agent at %s refuses with HTTP status %ld",
                  api->connect, status);
    }
    if (status == 401 && !err->remedy[0]) {
        error_remedy(err, "show a certificate (--tls) or its token (--token-file)");
    }
    return -err->code;
}

static int read_answer(const struct api *api, long status, const struct buffer *content,
                       json_t **ret_answer, struct error *err)
{
    CLEANUP_JSON json_t *answer =
        json_parse((const char *)content->data, content->length, "its answer", err);
    if (status < 200 || status > 299) {
        return api_explain_refusal(api, status, answer, err);
    }
    if (!answer && content->length == 0) {
        answer = json_object();
    }
    if (!answer) {
        err->code = EPROTO;
        error_wrap(err, "the agent at %s sends what nobody can read", api->connect);
        return error_remedy(err, "look whether another program has that address");
    }
    if (!json_is_object(answer)) {
        return error_set(err, EPROTO, "the agent at %s answers with something else than an object",
                         api->connect);
    }
    if (ret_answer) {
        *ret_answer = steal_pointer(&answer);
    }
    return 0;
}

static struct curl_slist *make_headers(const struct api *api)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    CLEANUP_FREE char *authorization =
        api->token ? file_path("Authorization: Bearer %s", api->token) : NULL;
    return authorization ? curl_slist_append(headers, authorization) : headers;
}

static int perform(struct api *api, const char *method, const char *url, const char *body,
                   long seconds, struct buffer *content, struct error *err)
{
    struct curl_slist *headers = make_headers(api);
    prepare(api, api->curl);
    curl_easy_setopt(api->curl, CURLOPT_URL, url);
    curl_easy_setopt(api->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(api->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(api->curl, CURLOPT_TIMEOUT, seconds);
    curl_easy_setopt(api->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(api->curl, CURLOPT_WRITEDATA, content);
    if (body) {
        curl_easy_setopt(api->curl, CURLOPT_POSTFIELDS, body);
    }
    CURLcode code = curl_easy_perform(api->curl);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? 0 : explain_failure(api, api->curl, code, err);
}

int api_call(struct api *api, const char *method, const char *path, const json_t *body,
             long seconds, json_t **ret_answer, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_FREE char *url = file_path("%s%s", api->base_url, path);
    CLEANUP_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("");
    bool sends = body || strcmp(method, "POST") == 0;
    if (!api->curl) {
        api->curl = curl_easy_init();
    }
    if (!url || !text || !api->curl) {
        return error_set_errno(err, ENOMEM, "cannot ask the agent");
    }
    int result = perform(api, method, url, sends ? text : NULL, seconds, &content, err);
    if (result < 0) {
        return result;
    }
    long status = 0;
    curl_easy_getinfo(api->curl, CURLINFO_RESPONSE_CODE, &status);
    return read_answer(api, status, &content, ret_answer, err);
}

int api_get(struct api *api, const char *path, json_t **ret_answer, struct error *err)
{
    return api_call(api, "GET", path, NULL, API_SECONDS, ret_answer, err);
}

int api_open(struct api *api, CURL **ret_connection, struct error *err)
{
    CURL *connection = curl_easy_init();
    if (!connection) {
        return error_set_errno(err, ENOMEM, "cannot connect");
    }
    prepare(api, connection);
    curl_easy_setopt(connection, CURLOPT_URL, api->base_url);
    curl_easy_setopt(connection, CURLOPT_CONNECT_ONLY, 1L);
    CURLcode code = curl_easy_perform(connection);
    if (code != CURLE_OK) {
        int result = explain_failure(api, connection, code, err);
        curl_easy_cleanup(connection);
        return result;
    }
    *ret_connection = connection;
    return 0;
}
