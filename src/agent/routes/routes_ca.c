/* The calls about certificates: those of the host that holds the authority, and those of every
 * host about its own. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/routes/routes.h"
#include "agent/tell_peers.h"
#include "agent/upkeep.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "ca/authority.h"

#define WHAT "the request"

static int open_authority(const struct agent *agent, struct authority **ret_authority,
                          struct error *err)
{
    const struct config_tls *tls = &agent->config->tls;
    if (!tls->authority_folder[0]) {
        error_set(err, ENOTSUP, "host %s does not hold the certificate authority",
                  agent->config->host);
        return tls->authority[0] ? error_remedy(err, "ask host %s", tls->authority)
                                 : error_remedy(err, "ask the host that does, or name it as "
                                                     "\"authority\" of \"tls\"");
    }
    return authority_open(tls->authority_folder, ret_authority, err);
}

/* What a host or an operator gets; `answer` may be without a certificate. */
static int give(const struct authority *authority, const struct authority_answer *answer,
                struct response *ret_response, struct error *err)
{
    char signer[TLS_FINGERPRINT_SIZE];
    authority_fingerprint(authority, signer);
    ret_response->body =
        json_pack("{s:s?, s:s, s:s, s:s}", "certificate", answer->certificate, "authorities",
                  answer->authorities, "revoked", answer->revoked, "signer", signer);
    return ret_response->body ? 0 : error_set_errno(err, ENOMEM, "cannot answer");
}

/* ---- for who has no certificate yet ---- */

int join_ca(void *context, const struct request *request, struct response *ret_response,
            struct error *err)
{
    static const char *const known[] = {"secret", "request", NULL};
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    struct tls_identity identity = {0};
    const char *secret;
    const char *pem;
    int result = json_refuse_unknown_keys(request->body, WHAT, known, err);
    if (result == 0) {
        result = json_get_string(request->body, WHAT, "secret", &secret, err);
    }
    if (result == 0) {
        result = json_get_string(request->body, WHAT, "request", &pem, err);
    }
    if (result == 0) {
        result = open_authority(context, &authority, err);
    }
    if (result == 0) {
        result = authority_join(authority, secret, pem, &identity, &answer, err);
    }
    if (result < 0) {
        return result;
    }
    log_info("%s %s has joined", tls_role_words[identity.role], identity.name);
    ret_response->status = 201;
    return give(authority, &answer, ret_response, err);
}

/* ---- for hosts ---- */

int get_ca_trust(void *context, const struct request *request, struct response *ret_response,
                 struct error *err)
{
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    (void)request;
    int result = open_authority(context, &authority, err);
    if (result == 0) {
        result = authority_trust(authority, &answer, err);
    }
    return result < 0 ? result : give(authority, &answer, ret_response, err);
}

int renew_ca(void *context, const struct request *request, struct response *ret_response,
             struct error *err)
{
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    const char *pem;
    if (request->caller.kind != CALLER_HOST) {
        return error_set(err, EACCES, "only a host can renew its own certificate");
    }
    int result = json_get_string(request->body, WHAT, "request", &pem, err);
    if (result == 0) {
        result = open_authority(context, &authority, err);
    }
    if (result == 0) {
        result = authority_renew(authority, TLS_ROLE_HOST, request->caller.name, pem, &answer, err);
    }
    if (result < 0) {
        return result;
    }
    log_info("host %s has renewed its certificate", request->caller.name);
    ret_response->status = 201;
    return give(authority, &answer, ret_response, err);
}

/* Somebody says that there is news: it is fetched from the authority itself, so that it does not
 * matter who says it. */
int refresh_tls(void *context, const struct request *request, struct response *ret_response,
                struct error *err)
{
    struct agent *agent = context;
    (void)request;
    int result = upkeep_refresh(agent->upkeep, err);
    ret_response->body = json_object();
    return result;
}

/* ---- for operators ---- */

int renew_tls(void *context, const struct request *request, struct response *ret_response,
              struct error *err)
{
    struct agent *agent = context;
    (void)request;
    int result = upkeep_renew(agent->upkeep, err);
    if (result == 0) {
        ret_response->body = trust_facts(agent->trust);
    }
    return result;
}

int get_ca_certificates(void *context, const struct request *request, struct response *ret_response,
                        struct error *err)
{
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    char signer[TLS_FINGERPRINT_SIZE];
    (void)request;
    int result = open_authority(context, &authority, err);
    if (result < 0) {
        return result;
    }
    authority_fingerprint(authority, signer);
    ret_response->body = json_pack("{s:s, s:s, s:o}", "authority", signer, "stage",
                                   authority_stage_words[authority_stage(authority)],
                                   "certificates", authority_certificates(authority));
    return ret_response->body ? 0 : error_set_errno(err, ENOMEM, "cannot list certificates");
}

int make_ca_token(void *context, const struct request *request, struct response *ret_response,
                  struct error *err)
{
    static const char *const known[] = {"role", "name", "addresses", "lifetime_s", NULL};
    const struct agent *agent = context;
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    struct tls_identity identity = {0};
    struct join_token token;
    int64_t lifetime_s;
    int result = json_refuse_unknown_keys(request->body, WHAT, known, err);
    if (result == 0) {
        result = json_get_integer_or(request->body, WHAT, "lifetime_s", 1,
                                     AUTHORITY_TOKEN_LIFETIME_MOST_S, AUTHORITY_TOKEN_LIFETIME_S,
                                     &lifetime_s, err);
    }
    if (result == 0) {
        result = tls_identity_from_json(request->body, WHAT, &identity, err);
    }
    if (result == 0) {
        result = open_authority(agent, &authority, err);
    }
    if (result == 0) {
        result = authority_make_token(authority, &identity, lifetime_s, &token, err);
    }
    if (result < 0) {
        return result;
    }
    strcpy(token.server, agent->config->host);
    CLEANUP_FREE char *text = join_token_write(&token);
    log_info("%s made a join token for %s %s", request->caller.name, tls_role_words[identity.role],
             identity.name);
    ret_response->status = 201;
    ret_response->body =
        text ? json_pack("{s:s, s:I}", "token", text, "lifetime_s", (json_int_t)lifetime_s) : NULL;
    return ret_response->body ? 0 : error_set_errno(err, ENOMEM, "cannot make a join token");
}

/* What the authority changed counts here first, then everywhere that can be reached. */
static int spread(struct agent *agent, const char *except, struct response *ret_response,
                  struct error *err)
{
    int result = upkeep_refresh(agent->upkeep, err);
    if (result < 0) {
        return result;
    }
    ret_response->body = tell_peers(agent, "/v1/tls/refresh", except);
    return ret_response->body ? 0 : error_set_errno(err, ENOMEM, "cannot tell the other hosts");
}

static int revoke_identity(const struct agent *agent, const struct tls_identity *identity,
                           size_t *ret_count, struct error *err)
{
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    if (identity->role == TLS_ROLE_HOST && strcmp(identity->name, agent->config->host) == 0) {
        error_set(err, EBUSY, "host %s holds the certificate authority", identity->name);
        return error_remedy(err, "a rollover (drover ca rollover) makes its old certificates void");
    }
    int result = open_authority(agent, &authority, err);
    return result < 0 ? result
                      : authority_revoke(authority, identity->role, identity->name, ret_count, err);
}

int revoke_ca(void *context, const struct request *request, struct response *ret_response,
              struct error *err)
{
    static const char *const known[] = {"role", "name", NULL};
    struct agent *agent = context;
    struct tls_identity identity = {0};
    size_t count = 0;
    int result = json_refuse_unknown_keys(request->body, WHAT, known, err);
    if (result == 0) {
        result = tls_identity_from_json(request->body, WHAT, &identity, err);
    }
    if (result == 0) {
        result = revoke_identity(agent, &identity, &count, err);
    }
    if (result < 0) {
        return result;
    }
    log_info("%s revoked %s %s", request->caller.name, tls_role_words[identity.role],
             identity.name);
    const char *except = identity.role == TLS_ROLE_HOST ? identity.name : NULL;
    result = spread(agent, except, ret_response, err);
    if (result == 0) {
        json_object_set_new(ret_response->body, "revoked", json_integer((json_int_t)count));
    }
    return result;
}

/* ---- rollover ---- */

/* Nobody may be left behind who does not trust the new authority yet when it begins to sign. */
static int require_all_told(const json_t *told, struct error *err)
{
    const json_t *missed = json_array_get(json_object_get(told, "not_told"), 0);
    if (!missed) {
        return 0;
    }
    error_set(err, EBUSY, "host %s does not know of the new authority: %s",
              json_string_value(json_object_get(missed, "host")),
              json_string_value(json_object_get(missed, "reason")));
    return error_remedy(err, "start it, or revoke it and take it out of \"peers\"; then again");
}

static int check_ready(struct agent *agent, struct error *err)
{
    CLEANUP_AUTHORITY struct authority *authority = NULL;
    int result = open_authority(agent, &authority, err);
    if (result < 0 || authority_stage(authority) != AUTHORITY_ANNOUNCED) {
        return result;
    }
    authority_close(steal_pointer(&authority)); /* the peers ask it */
    struct response told = {0};
    result = spread(agent, NULL, &told, err);
    if (result == 0) {
        result = require_all_told(told.body, err);
    }
    json_decref(told.body);
    return result;
}

int advance_ca(void *context, const struct request *request, struct response *ret_response,
               struct error *err)
{
    struct agent *agent = context;
    struct authority *authority = NULL;
    enum authority_stage stage = AUTHORITY_SINGLE;
    int result = check_ready(agent, err);
    if (result == 0) {
        result = open_authority(agent, &authority, err);
    }
    if (result == 0) {
        result = authority_advance(authority, &stage, err);
    }
    authority_close(authority);
    if (result < 0) {
        return result;
    }
    log_info("%s: rollover of the certificate authority: %s", request->caller.name,
             authority_stage_words[stage]);
    if (stage == AUTHORITY_SWITCHED) {
        result = upkeep_renew(agent->upkeep, err);
    }
    if (result == 0) {
        result = spread(agent, NULL, ret_response, err);
    }
    if (result == 0) {
        json_object_set_new(ret_response->body, "stage", json_string(authority_stage_words[stage]));
    }
    return result;
}
