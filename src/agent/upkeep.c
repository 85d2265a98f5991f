/* Upkeep of the agent's certificate: see upkeep.h. */
#include "agent/upkeep.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/peer.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/tls_folder.h"
#include "ca/authority.h"
#include "http/trust.h"

#define INTERVAL_NS (60 * NANOSECONDS_PER_SECOND)
#define TICK_NS NANOSECONDS_PER_SECOND
#define WAIT_NS (15 * NANOSECONDS_PER_SECOND)
#define WAITING_MOST 8 /* each holds one of the server's workers */
#define ASK_TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)
#define RETRY_NS (5 * NANOSECONDS_PER_SECOND)
#define WORRY_NS (3600 * NANOSECONDS_PER_SECOND)

/*
 * Two mutexes: `work` is held over what changes the folder, calls to the authority included;
 * `mutex` guards the rest of the fields, is a leaf, and is never held for long.
 */
struct upkeep {
    struct agent *agent;
    pthread_mutex_t work;
    char signer[TLS_FINGERPRINT_SIZE]; /* who signs, by the last answer; empty: not known yet */
    uint64_t answered_ns;              /* CLOCK_MONOTONIC: when the authority last answered */
    bool worried;                      /* the log has it that it does not */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t wanted; /* the last question that somebody wants asked */
    uint64_t asked;  /* the last that was */
    unsigned waiting;
    int result; /* of that one */
    struct error error;
};

static const struct config_tls *tls_of(const struct upkeep *upkeep)
{
    return &upkeep->agent->config->tls;
}

/* ---- asking ---- */

static int copy_text(const json_t *answer, const char *key, char **ret_text, struct error *err)
{
    const char *text;
    int result = json_get_string(answer, "the authority's answer", key, &text, err);
    if (result == 0 && !(*ret_text = strdup(text))) {
        return error_set_errno(err, ENOMEM, "cannot keep certificates");
    }
    return result;
}

static int read_answer(const json_t *answer, bool with_certificate, struct authority_answer *read,
                       char signer[TLS_FINGERPRINT_SIZE], struct error *err)
{
    const char *fingerprint;
    int result = copy_text(answer, "authorities", &read->authorities, err);
    if (result == 0) {
        result = copy_text(answer, "revoked", &read->revoked, err);
    }
    if (result == 0 && with_certificate) {
        result = copy_text(answer, "certificate", &read->certificate, err);
    }
    if (result == 0) {
        result = json_get_string(answer, "the authority's answer", "signer", &fingerprint, err);
    }
    if (result == 0) {
        snprintf(signer, TLS_FINGERPRINT_SIZE, "%s", fingerprint);
    }
    return result;
}

/* The folder is on this host; `request` NULL: no certificate is wanted. */
static int ask_here(const struct upkeep *upkeep, const char *request, struct authority_answer *read,
                    char signer[TLS_FINGERPRINT_SIZE], struct error *err)
{
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    int result = authority_open(tls_of(upkeep)->authority_folder, &authority, err);
    if (result < 0) {
        return result;
    }
    authority_fingerprint(authority, signer);
    return request ? authority_renew(authority, TLS_ROLE_HOST, upkeep->agent->config->host, request,
                                     read, err)
                   : authority_trust(authority, read, err);
}

static int ask_peer(const struct upkeep *upkeep, const char *request, struct authority_answer *read,
                    char signer[TLS_FINGERPRINT_SIZE], struct error *err)
{
    CLEANUP_JSON json_t *body = request ? json_pack("{s:s}", "request", request) : NULL;
    CLEANUP_JSON json_t *answer = NULL;
    const struct config_peer *peer = config_peer(upkeep->agent->config, tls_of(upkeep)->authority);
    int result =
        peer_call(upkeep->agent, peer, request ? "POST" : "GET",
                  request ? "/v1/ca/renew" : "/v1/ca/trust", body, ASK_TIMEOUT_NS, &answer, err);
    return result < 0 ? result : read_answer(answer, request != NULL, read, signer, err);
}

static int ask(struct upkeep *upkeep, const char *request, struct authority_answer *read,
               struct error *err)
{
    char signer[TLS_FINGERPRINT_SIZE] = "";
    int result = tls_of(upkeep)->authority_folder[0] ? ask_here(upkeep, request, read, signer, err)
                                                     : ask_peer(upkeep, request, read, signer, err);
    if (result == 0) {
        strcpy(upkeep->signer, signer);
        upkeep->answered_ns = clock_monotonic_ns();
        upkeep->worried = false;
    }
    return result;
}

/* ---- with `work` held ---- */

static bool file_holds(const char *folder, const char *name, const char *text)
{
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_FREE char *path = file_path("%s/%s", folder, name);
    struct error ignored;
    return path && file_read(path, strlen(text) + 1, &content, &ignored) == 0 &&
           content.length == strlen(text) && memcmp(content.data, text, content.length) == 0;
}

static int refresh(struct upkeep *upkeep, struct error *err)
{
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    const char *folder = tls_of(upkeep)->folder;
    int result = ask(upkeep, NULL, &answer, err);
    if (result < 0 || (file_holds(folder, "ca.crt", answer.authorities) &&
                       file_holds(folder, "ca.crl", answer.revoked))) {
        return result;
    }
    const struct tls_grant grant = authority_answer_grant(&answer);
    result = tls_folder_store(folder, TLS_ROLE_HOST, NULL, &grant, err);
    if (result == 0) {
        result = trust_reload(upkeep->agent->trust, err);
    }
    if (result == 0) {
        log_info("new list of trusted authorities and revoked certificates");
    }
    return result;
}

static int renew(struct upkeep *upkeep, struct error *err)
{
    CLEANUP_FREE char *request = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    const char *folder = tls_of(upkeep)->folder;
    int result = tls_folder_request(folder, TLS_ROLE_HOST, &request, err);
    if (result == 0) {
        result = ask(upkeep, request, &answer, err);
    }
    if (result == 0) {
        const struct tls_grant grant = authority_answer_grant(&answer);
        result = tls_folder_store(folder, TLS_ROLE_HOST, upkeep->agent->config->host, &grant, err);
    }
    if (result == 0) {
        result = trust_reload(upkeep->agent->trust, err);
    }
    if (result < 0) {
        tls_folder_abandon(folder, TLS_ROLE_HOST);
        return result;
    }
    log_info("new certificate for host %s", upkeep->agent->config->host);
    return 0;
}

/* ---- for others ---- */

static int require_authority(const struct upkeep *upkeep, struct error *err)
{
    if (tls_of(upkeep)->authority[0]) {
        return 0;
    }
    error_set(err, ENOTSUP, "host %s knows no certificate authority", upkeep->agent->config->host);
    return error_remedy(err, "name the host that has it as \"authority\" of \"tls\" in the "
                             "configuration");
}

static int wait_for_answer(struct upkeep *upkeep, struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + WAIT_NS;
    uint64_t ticket = ++upkeep->wanted;
    bool in_time = true;
    pthread_cond_broadcast(&upkeep->changed);
    while (upkeep->asked < ticket && in_time) {
        in_time = condition_wait(&upkeep->changed, &upkeep->mutex, deadline);
    }
    if (upkeep->asked < ticket) {
        return error_set(err, ETIMEDOUT, "the certificate authority does not answer in time");
    }
    if (upkeep->result < 0) {
        *err = upkeep->error;
    }
    return upkeep->result;
}

int upkeep_refresh(struct upkeep *upkeep, struct error *err)
{
    int result = require_authority(upkeep, err);
    if (result < 0) {
        return result;
    }
    pthread_mutex_lock(&upkeep->mutex);
    if (upkeep->waiting >= WAITING_MOST) {
        result = error_set(err, EBUSY, "the certificate authority is being asked already");
    } else {
        upkeep->waiting++;
        result = wait_for_answer(upkeep, err);
        upkeep->waiting--;
    }
    pthread_mutex_unlock(&upkeep->mutex);
    return result;
}

static int renew_now(struct upkeep *upkeep, struct error *err)
{
    pthread_mutex_lock(&upkeep->work);
    int result = renew(upkeep, err);
    pthread_mutex_unlock(&upkeep->work);
    return result;
}

int upkeep_renew(struct upkeep *upkeep, struct error *err)
{
    int result = require_authority(upkeep, err);
    return result < 0 ? result : renew_now(upkeep, err);
}

/* ---- the thread ---- */

/* Seconds until the certificate is due; 0: now. */
static int64_t due_in(const struct upkeep *upkeep)
{
    char authority[TLS_FINGERPRINT_SIZE];
    int64_t not_before;
    int64_t not_after;
    struct tls_credentials *credentials = trust_credentials(upkeep->agent->trust, NULL);
    if (!credentials) {
        return INT64_MAX;
    }
    tls_certificate_times(tls_credentials_certificate(credentials), &not_before, &not_after);
    tls_credentials_issuer(credentials, authority);
    tls_credentials_unref(credentials);
    if (upkeep->signer[0] && strcmp(authority, upkeep->signer) != 0) {
        return 0;
    }
    int64_t due = not_before + (not_after - not_before) / 3 * 2 - (int64_t)time(NULL);
    return due > 0 ? due : 0;
}

/* Not every hour of a power cut: once, when it is an hour old. */
static void worry(struct upkeep *upkeep, const struct error *err)
{
    uint64_t age = clock_monotonic_ns() - upkeep->answered_ns;
    if (age > WORRY_NS && !upkeep->worried) {
        upkeep->worried = true;
        log_warning("for an hour the certificate authority on host %s does not answer, so that "
                    "nobody tells what is revoked: %s",
                    tls_of(upkeep)->authority, err->message);
    }
}

/* Asks, for all who want it asked up to now. */
static void ask_for_all(struct upkeep *upkeep)
{
    struct error err = ERROR_NONE;
    pthread_mutex_lock(&upkeep->mutex);
    uint64_t ticket = upkeep->wanted;
    pthread_mutex_unlock(&upkeep->mutex);
    pthread_mutex_lock(&upkeep->work);
    int result = refresh(upkeep, &err);
    if (result < 0) {
        worry(upkeep, &err);
    }
    pthread_mutex_unlock(&upkeep->work);
    pthread_mutex_lock(&upkeep->mutex);
    upkeep->asked = ticket;
    upkeep->result = result;
    upkeep->error = err;
    pthread_cond_broadcast(&upkeep->changed);
    pthread_mutex_unlock(&upkeep->mutex);
}

/* When to try again (CLOCK_MONOTONIC), if it fails. */
static uint64_t renew_if_due(struct upkeep *upkeep)
{
    struct error err = ERROR_NONE;
    if (due_in(upkeep) > 0) {
        return 0;
    }
    if (renew_now(upkeep, &err) < 0) {
        log_warning("the certificate of host %s is due, and there is no new one: %s",
                    upkeep->agent->config->host, err.message);
    }
    return clock_monotonic_ns() + RETRY_NS;
}

/* Waits for a tick, or until somebody wants something: whether somebody does. */
static bool wait_for_wish(struct upkeep *upkeep)
{
    uint64_t deadline = clock_monotonic_ns() + TICK_NS;
    pthread_mutex_lock(&upkeep->mutex);
    while (upkeep->asked == upkeep->wanted &&
           condition_wait(&upkeep->changed, &upkeep->mutex, deadline)) {
    }
    bool wish = upkeep->asked != upkeep->wanted;
    pthread_mutex_unlock(&upkeep->mutex);
    return wish;
}

static void *keep(void *context)
{
    struct upkeep *upkeep = context;
    bool has_authority = tls_of(upkeep)->authority[0] != '\0';
    uint64_t next_question = 0;
    uint64_t next_renewal = 0;
    while (upkeep) { /* ends with the process */
        bool wish = wait_for_wish(upkeep);
        trust_follow(upkeep->agent->trust);
        if (has_authority && (wish || clock_monotonic_ns() >= next_question)) {
            ask_for_all(upkeep);
            next_question = clock_monotonic_ns() + INTERVAL_NS;
        }
        if (has_authority && clock_monotonic_ns() >= next_renewal) {
            next_renewal = renew_if_due(upkeep);
        }
    }
    return NULL;
}

int upkeep_start(struct agent *agent, struct upkeep **ret_upkeep, struct error *err)
{
    pthread_t thread;
    struct upkeep *upkeep = calloc(1, sizeof(*upkeep));
    if (!upkeep) {
        return error_set_errno(err, ENOMEM, "cannot keep certificates");
    }
    upkeep->agent = agent;
    upkeep->answered_ns = clock_monotonic_ns();
    pthread_mutex_init(&upkeep->work, NULL);
    pthread_mutex_init(&upkeep->mutex, NULL);
    condition_init(&upkeep->changed);
    if (agent->config->tls.folder[0]) {
        int result = pthread_create(&thread, NULL, keep, upkeep);
        if (result != 0) {
            free(upkeep);
            return error_set_errno(err, result, "cannot keep certificates");
        }
        pthread_detach(thread);
    }
    *ret_upkeep = upkeep;
    return 0;
}
