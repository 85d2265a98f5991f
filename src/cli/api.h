/*
 * The agent's REST API, from the client's side: libcurl over a UNIX socket or TLS. Everything that
 * comes back is bounded and checked; every way in which it can fail ends as a sentence with a
 * remedy.
 */
#pragma once

#include <curl/curl.h>
#include <jansson.h>

#include "base/error.h"

#define API_DEFAULT_CONNECT "unix:/run/drover/droverd.sock"
#define API_DEFAULT_TLS "/etc/drover/tls"

/* Seconds for an answer that needs no work, and for one that may copy disk images. */
#define API_SECONDS 60
#define API_SECONDS_UNLIMITED 0

struct api;

struct api_options {
    const char *connect;    /* "unix:PATH" or "https://HOST:PORT"; NULL: API_DEFAULT_CONNECT */
    const char *token_file; /* holds the bearer token; NULL: none */
    const char *tls_folder; /* base/tls.h; NULL: API_DEFAULT_TLS */
};

/* Connects to nothing yet. */
int api_new(const struct api_options *options, struct api **ret_api, struct error *err);

/* For who has no certificates yet: believes only the agent of host `host` with a certificate of the
 * authority that has this fingerprint. The strings must outlive the result. */
int api_new_pinned(const char *connect, const char *fingerprint, const char *host,
                   struct api **ret_api, struct error *err);
void api_free(struct api *api);

/* Whether the agent is reached by a socket on this host, so that paths mean the same to both. */
int api_is_local(const struct api *api);

/* Calls METHOD path with a JSON body (NULL: none). On success (HTTP 2xx) *ret_answer (may be NULL)
 * is a new reference to the answer, always an object. An error that the agent reports is passed on
 * as it said it. -ECONNREFUSED, -ECONNRESET: the agent is not reachable; -ETIMEDOUT; -EPROTO: what
 * came back is no answer of an agent. */
int api_call(struct api *api, const char *method, const char *path, const json_t *body,
             long seconds, json_t **ret_answer, struct error *err);

/* GET within API_SECONDS. */
int api_get(struct api *api, const char *path, json_t **ret_answer, struct error *err);

/* Opens a connection to the agent for another protocol (the console's WebSocket): the caller sends
 * and receives with curl_easy_send() and curl_easy_recv(), and releases it with
 * curl_easy_cleanup(). */
int api_open(struct api *api, CURL **ret_connection, struct error *err);

/* Fills err from a refusal: its HTTP status, and the error object that came with it (may be NULL).
 * Returns -err->code. */
int api_explain_refusal(const struct api *api, long status, const json_t *answer,
                        struct error *err);

/* "ADDRESS:PORT" or "localhost" for a Host header; the token, or NULL. */
const char *api_host(const struct api *api);
const char *api_token(const struct api *api);
