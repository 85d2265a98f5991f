/* What the files of the authority share: see authority.h. */
#pragma once

#include <openssl/x509.h>
#include <stdbool.h>

#include "ca/authority.h"

#define AUTHORITIES_MOST 2

/* An authority's own certificate and key. */
struct authority_pair {
    int64_t number; /* in the files' names; grows */
    X509 *certificate;
    EVP_PKEY *key;
};

struct authority {
    char *folder;
    int lock;
    json_t *state; /* ca.json */
    struct authority_pair trusted[AUTHORITIES_MOST];
    size_t trusted_count;
    size_t signer; /* which of them signs */
};

/* Seconds since 1970. */
int64_t authority_now(void);

/* Writes ca.json; what is over is left out. */
int authority_save(struct authority *authority, struct error *err);

/* As authority_save(), when who is trusted or what is revoked has changed: with a new list. */
int authority_change_trust(struct authority *authority, struct error *err);

/* Makes pair `number` and its files. */
int authority_make_pair(const char *folder, int64_t number, struct authority_pair *ret_pair,
                        struct error *err);
void authority_remove_pair(const char *folder, int64_t number);
void authority_pair_done(struct authority_pair *pair);

/* One of the state's lists: "certificates", "tokens". Borrowed. */
json_t *authority_list(const struct authority *authority, const char *key);

/* authority_issue() without saving. */
int authority_sign(struct authority *authority, const struct tls_identity *identity,
                   EVP_PKEY *public_key, struct authority_answer *ret_answer, struct error *err);

#define AUTHORITY_ENTRY "an entry of ca.json" /* for errors */

/* Identities as ca.json has them, and tls_identity_from_json() reads them: {"role", "name",
 * "addresses"} within an object. */
int authority_put_identity(json_t *object, const struct tls_identity *identity);

/* Whether an entry of "certificates" is that name's, and neither over nor revoked. */
bool authority_entry_is_good(const json_t *entry, int64_t now);
bool authority_entry_is_of(const json_t *entry, enum tls_role role, const char *name);

/* The lists of all trusted authorities in PEM, which the caller frees. */
int authority_make_revocations(const struct authority *authority, char **ret_pem,
                               struct error *err);
