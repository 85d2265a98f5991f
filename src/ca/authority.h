/*
 * The certificate authority of a cluster: a folder (0700, its keys 0600) on one host.
 *
 *     ca.json               whom it gave certificates, what it revoked, hashes of join tokens
 *     authority-1.crt, .key the authority's own certificate and key; a second pair during a
 * rollover
 *
 * An open authority holds the folder's lock: open it, do one thing, close it. What is changed is
 * durable when the call returns; a call that fails has changed nothing.
 *
 * Rollover, in three steps of authority_advance(): the new authority is trusted by all (ANNOUNCED),
 * then it signs and everybody renews (SWITCHED), then the old one is forgotten (SINGLE). At each
 * moment every certificate in use is good for everybody who took the step before.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tls_certificate.h"
#include "base/tls_folder.h"
#include "ca/join_token.h"

#define AUTHORITY_LIFETIME_S (INT64_C(10) * 365 * 86400)
#define AUTHORITY_CERTIFICATE_LIFETIME_S (INT64_C(90) * 86400)
#define AUTHORITY_TOKEN_LIFETIME_S 600
#define AUTHORITY_TOKEN_LIFETIME_MOST_S 86400

enum authority_stage { AUTHORITY_SINGLE, AUTHORITY_ANNOUNCED, AUTHORITY_SWITCHED };

/* "single", "announced", "switched". */
extern const char *const authority_stage_words[];

struct authority;

/* What is handed to whom gets a certificate: owned texts, for a struct tls_grant. */
struct authority_answer {
    char *certificate; /* NULL: none was asked for */
    char *authorities;
    char *revoked;
};

void authority_answer_done(struct authority_answer *answer);
#define CLEANUP_AUTHORITY_ANSWER __attribute__((cleanup(authority_answer_done)))

/* The answer as tls_folder_store() takes it: borrowed. */
struct tls_grant authority_answer_grant(const struct authority_answer *answer);

/* Makes a folder with an authority of its own name; `lifetime_s` is that of the certificates it
 * will issue. -EEXIST when there is one. */
int authority_init(const char *folder, int64_t lifetime_s, struct error *err);

/* -ENOENT when the folder holds none. */
int authority_open(const char *folder, struct authority **ret_authority, struct error *err);

/* Takes NULL. */
void authority_close(struct authority *authority);

static inline void authority_cleanup(struct authority **authority)
{
    authority_close(*authority);
}
#define CLEANUP_AUTHORITY __attribute__((cleanup(authority_cleanup)))

/* What everybody trusts and must not trust; no certificate. */
int authority_trust(const struct authority *authority, struct authority_answer *ret_answer,
                    struct error *err);

/* A certificate for that identity and the request's key. -EEXIST for a host whose name differs from
 * another's in nothing but capitals. */
int authority_issue(struct authority *authority, const struct tls_identity *identity,
                    const char *request, struct authority_answer *ret_answer, struct error *err);

/* Another certificate for whom it gave one that is neither over nor revoked, with the same names;
 * -EACCES when there is none. */
int authority_renew(struct authority *authority, enum tls_role role, const char *name,
                    const char *request, struct authority_answer *ret_answer, struct error *err);

/* Revokes all certificates of that name; -ENOENT when it has none that is good. */
int authority_revoke(struct authority *authority, enum tls_role role, const char *name,
                     size_t *ret_count, struct error *err);

/* Fills all of *ret_token but its server. It is good for `lifetime_s`, once. */
int authority_make_token(struct authority *authority, const struct tls_identity *identity,
                         int64_t lifetime_s, struct join_token *ret_token, struct error *err);

/* A certificate for whom the token was made for; the token is spent with it. -EACCES for a secret
 * that is unknown, spent or over: which of them is not told. */
int authority_join(struct authority *authority, const char *secret, const char *request,
                   struct tls_identity *ret_identity, struct authority_answer *ret_answer,
                   struct error *err);

/* The next step of a rollover. -EBUSY for the last one while certificates of the old authority are
 * in use, naming one. */
int authority_advance(struct authority *authority, enum authority_stage *ret_stage,
                      struct error *err);

enum authority_stage authority_stage(const struct authority *authority);

/* The fingerprint of the authority that signs. */
void authority_fingerprint(const struct authority *authority, char text[TLS_FINGERPRINT_SIZE]);

/* [{"serial", "role", "name", "addresses", "not_before", "not_after", "revoked_at": time or null,
 * "authority": fingerprint}], times in seconds since 1970, those that are over left out. New
 * reference. */
json_t *authority_certificates(const struct authority *authority);
