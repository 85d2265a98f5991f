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
    struct curl_slist *headers;
    struct buffer answer;
    char url[256];
    char reason[CURL_ERROR_SIZE];
};

static void call_done(struct call *call)
{
    curl_slist_free_all(call->headers);
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

static void add_header(struct call *call, const char *header)
{
    struct curl_slist *longer = curl_slist_append(call->headers, header);
    call->headers = longer ? longer : call->headers;
}

static int prepare(struct call *call, const struct agent_config *config,
                   const struct config_peer *peer, const char *method, const char *path,
                   uint64_t timeout_ns)
{
    char authorization[sizeof(config->token) + 32];
    bool is_v6 = strchr(peer->address, ':') != NULL;
    call->curl = curl_easy_init();
    if (!call->curl) {
        return -ENOMEM;
    }
    snprintf(call->url, sizeof(call->url), is_v6 ? "http://[%s]:%u%s" : "http://%s:%u%s",
             peer->address, peer->port, path);
    snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", config->token);
    add_header(call, authorization);
    add_header(call, "Content-Type: application/json");
    add_header(call, "Expect:");
    curl_easy_setopt(call->curl, CURLOPT_URL, call->url);
    curl_easy_setopt(call->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(call->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(call->curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(call->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(call->curl, CURLOPT_TIMEOUT_MS,
                     (long)(timeout_ns / NANOSECONDS_PER_MILLISECOND));
    curl_easy_setopt(call->curl, CURLOPT_ERRORBUFFER, call->reason);
    curl_easy_setopt(call->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(call->curl, CURLOPT_WRITEDATA, &call->answer);
    return 0;
}

static int refuse_unreachable(const struct config_peer *peer, CURLcode code,
                              const struct call *call, struct error *err)
{
    const char *reason = call->reason[0] ? call->reason : curl_easy_strerror(code);
    error_set(err, code == CURLE_OPERATION_TIMEDOUT ? ETIMEDOUT : EHOSTUNREACH,
              "cannot reach the agent of host %s at %s port %u: %s", peer->name, peer->address,
              peer->port, reason);
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

int peer_call(const struct agent_config *config, const struct config_peer *peer, const char *method,
              const char *path, const json_t *body, uint64_t timeout_ns, json_t **ret_answer,
              struct error *err)
{
    CLEANUP(call_done) struct call call = {0};
    CLEANUP_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if ((body && !text) || prepare(&call, config, peer, method, path, timeout_ns) < 0) {
        return error_set_errno(err, ENOMEM, "cannot call host %s", peer->name);
    }
    if (text) {
        curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, text);
    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, "");
    }
    CURLcode code = curl_easy_perform(call.curl);
    return code == CURLE_OK ? read_answer(peer, &call, ret_answer, err)
                            : refuse_unreachable(peer, code, &call, err);
}
