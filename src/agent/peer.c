/* Calls to another host's agent: see peer.h. */
#include "agent/peer.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/tls.h"

#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_BYTES_MOST ((size_t)4 << 20)

int peer_start(struct error *err)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
               ? 0
               : error_set(err, EIO, "cannot start libcurl");
}

struct call {
    CURL *curl;
    const struct config_peer *peer;
    struct tls_credentials *credentials;
    struct error trouble; /* of the TLS context */
    struct curl_slist *connect_to;
    struct curl_slist *headers;
    struct buffer answer;
    char url[256];
    char reason[CURL_ERROR_SIZE];
};

static void call_done(struct call *call)
{
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->connect_to);
    tls_credentials_unref(call->credentials);
    curl_easy_cleanup(call->curl);
    buffer_done(&call->answer);
}

/* Returning another number than was given makes libcurl stop. */
static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct buffer *answer = context;
    if (answer->length + size * count > ANSWER_BYTES_MOST ||
        buffer_append(answer, bytes, size * count) < 0) {
        return 0;
    }
    return size * count;
}

static void append(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);
    *list = longer ? longer : *list;
}

/* libcurl has made the context, and nobody has connected yet. */
static CURLcode prepare_tls(CURL *curl, void *context, void *user)
{
    struct call *call = user;
    (void)curl;
    return tls_connect(context, call->credentials, call->peer->name, &call->trouble) == 0
               ? CURLE_OK
               : CURLE_SSL_CERTPROBLEM;
}

/* The name in the URL is the one that the certificate must have; the address is the
 * configuration's, whatever a resolver says. */
static void set_address(struct call *call, const struct config_peer *peer, const char *path)
{
    char target[CONFIG_ADDRESS_SIZE + 32];
    bool is_v6 = strchr(peer->address, ':') != NULL;
    snprintf(call->url, sizeof(call->url), "https://%s:%u%s", peer->name, peer->port, path);
    snprintf(target, sizeof(target), is_v6 ? "::[%s]:%u" : "::%s:%u", peer->address, peer->port);
    append(&call->connect_to, target);
    curl_easy_setopt(call->curl, CURLOPT_URL, call->url);
    curl_easy_setopt(call->curl, CURLOPT_CONNECT_TO, call->connect_to);
}

static void set_tls(struct call *call)
{
    curl_easy_setopt(call->curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(call->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(call->curl, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(call->curl, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(call->curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(call->curl, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    curl_easy_setopt(call->curl, CURLOPT_SSL_CTX_DATA, call);
}

static int prepare(struct call *call, const char *method, const char *path, uint64_t timeout_ns)
{
    call->curl = curl_easy_init();
    if (!call->curl) {
        return -ENOMEM;
    }
    set_address(call, call->peer, path);
    set_tls(call);
    append(&call->headers, "Content-Type: application/json");
    append(&call->headers, "Expect:");
    curl_easy_setopt(call->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(call->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(call->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(call->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(call->curl, CURLOPT_TIMEOUT_MS,
                     (long)(timeout_ns / NANOSECONDS_PER_MILLISECOND));
    curl_easy_setopt(call->curl, CURLOPT_ERRORBUFFER, call->reason);
    curl_easy_setopt(call->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(call->curl, CURLOPT_WRITEDATA, &call->answer);
    return 0;
}

static int refuse_trust(const struct call *call, const char *reason, struct error *err)
{
    const struct config_peer *peer = call->peer;
    error_set(err, EACCES, "host %s at %s port %u and this host do not trust each other: %s",
              peer->name, peer->address, peer->port, reason);
    return error_remedy(err, "\"drover host show\" on both tells about their certificates; a "
                             "revoked host, or one whose certificate is over, has to join again");
}

static int refuse_unreachable(const struct call *call, CURLcode code, struct error *err)
{
    const struct config_peer *peer = call->peer;
    const char *reason = call->reason[0] ? call->reason : curl_easy_strerror(code);
    char alert[128];
    if (call->trouble.code) {
        return refuse_trust(call, call->trouble.message, err);
    }
    if (tls_alert_words(reason, alert, sizeof(alert))) {
        return refuse_trust(call, alert, err);
    }
    if (code == CURLE_PEER_FAILED_VERIFICATION) {
        return refuse_trust(call, reason, err);
    }
    error_set(err, code == CURLE_OPERATION_TIMEDOUT ? ETIMEDOUT : EHOSTUNREACH,
              "cannot reach the agent of host %s at %s port %u: %s", peer->name, peer->address,
              peer->port, reason);
    if (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_SSL_CONNECT_ERROR) {
        return error_remedy(err,
                            "it hung up, as on a host that was revoked or whose certificate is "
                            "over: that one has to join again");
    }
    return error_remedy(err, "is droverd running on host %s, and the network between the hosts up?",
                        peer->name);
}

static int read_answer(const struct config_peer *peer, const struct call *call, json_t **ret_answer,
                       struct error *err)
{
    char what[VM_NAME_SIZE + 32];
    long status = 0;
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
    snprintf(what, sizeof(what), "the answer of host %s", peer->name);
    CLEANUP_JSON json_t *answer =
        json_parse((const char *)call->answer.data, call->answer.length, what, err);
    if (!answer) {
        err->code = EPROTO;
        return -EPROTO;
    }
    if (status < 200 || status > 299) {
        json_to_error(answer, err);
        return error_wrap(err, "host %s", peer->name);
    }
    if (ret_answer) {
        *ret_answer = json_incref(answer);
    }
    return 0;
}

int peer_call(const struct agent *agent, const struct config_peer *peer, const char *method,
              const char *path, const json_t *body, uint64_t timeout_ns, json_t **ret_answer,
              struct error *err)
{
    CLEANUP(call_done) struct call call = {.peer = peer};
    CLEANUP_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    call.credentials = trust_credentials(agent->trust, err);
    if (!call.credentials) {
        return error_wrap(err, "cannot call host %s", peer->name);
    }
    if ((body && !text) || prepare(&call, method, path, timeout_ns) < 0) {
        return error_set_errno(err, ENOMEM, "cannot call host %s", peer->name);
    }
    if (text) {
        curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, text);
    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, "");
    }
    CURLcode code = curl_easy_perform(call.curl);
    return code == CURLE_OK ? read_answer(peer, &call, ret_answer, err)
                            : refuse_unreachable(&call, code, err);
}
