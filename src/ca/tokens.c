/* Join tokens, from the authority's side: it keeps a hash of each, until it is spent or over. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/random.h"
#include "base/tls_key.h"
#include "base/tls_openssl.h"
#include "ca/authority_internal.h"

#define SECRET_BYTES 32
#define TOKENS_MOST 4096
#define HASH_SIZE (2 * 32 + 1)

/* Enough for a secret of 256 random bits: there is nothing to guess that a slow hash would guard.
 */
static void hash_secret(const char *secret, char text[HASH_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(secret, strlen(secret), digest, NULL, EVP_sha256(), NULL);
    for (size_t i = 0; i < (HASH_SIZE - 1) / 2; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
}

static json_t *make_entry(const struct tls_identity *identity, const char *secret,
                          int64_t expires_at)
{
    char hash[HASH_SIZE];
    hash_secret(secret, hash);
    json_t *entry = json_pack("{s:s, s:I}", "sha256", hash, "expires_at", (json_int_t)expires_at);
    if (entry && authority_put_identity(entry, identity) < 0) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

int authority_make_token(struct authority *authority, const struct tls_identity *identity,
                         int64_t lifetime_s, struct join_token *ret_token, struct error *err)
{
    struct join_token token = {.role = identity->role};
    json_t *tokens = authority_list(authority, "tokens");
    if (lifetime_s < 1 || lifetime_s > AUTHORITY_TOKEN_LIFETIME_MOST_S) {
        return error_set(err, EINVAL, "a join token lives from 1 to %d seconds",
                         AUTHORITY_TOKEN_LIFETIME_MOST_S);
    }
    if (json_array_size(tokens) >= TOKENS_MOST) {
        error_set(err, EBUSY, "%d join tokens wait to be used", TOKENS_MOST);
        return error_remedy(err, "wait until they are over");
    }
    strcpy(token.name, identity->name);
    random_hex(token.secret, SECRET_BYTES);
    authority_fingerprint(authority, token.fingerprint);
    if (json_array_append_new(
            tokens, make_entry(identity, token.secret, authority_now() + lifetime_s)) < 0) {
        return error_set_errno(err, ENOMEM, "cannot make a join token");
    }
    int result = authority_save(authority, err);
    if (result == 0) {
        *ret_token = token;
    }
    return result;
}

/* The index of the token with that secret, or -1. */
static int find_token(const json_t *tokens, const char *secret)
{
    char hash[HASH_SIZE];
    int64_t now = authority_now();
    size_t index;
    const json_t *entry;
    hash_secret(secret, hash);
    json_array_foreach (tokens, index, entry) {
        const char *found = json_string_value(json_object_get(entry, "sha256"));
        if (found && strlen(found) == strlen(hash) &&
            CRYPTO_memcmp(found, hash, strlen(hash)) == 0 &&
            json_integer_value(json_object_get(entry, "expires_at")) >= now) {
            return (int)index;
        }
    }
    return -1;
}

int authority_join(struct authority *authority, const char *secret, const char *request,
                   struct tls_identity *ret_identity, struct authority_answer *ret_answer,
                   struct error *err)
{
    struct tls_identity identity;
    CLEANUP_KEY EVP_PKEY *key = NULL;
    json_t *tokens = authority_list(authority, "tokens");
    int result = tls_request_read(request, &key, err);
    int index = result == 0 ? find_token(tokens, secret) : -1;
    if (result == 0 && index < 0) {
        error_set(err, EACCES, "the join token is not known: it was used already, or is over");
        result = error_remedy(err, "make another one: drover ca token NAME");
    }
    if (result == 0) {
        result = tls_identity_from_json(json_array_get(tokens, (size_t)index), AUTHORITY_ENTRY,
                                        &identity, err);
    }
    if (result < 0) {
        return result;
    }
    json_array_remove(tokens, (size_t)index);
    result = authority_issue(authority, &identity, request, ret_answer, err);
    if (result == 0) {
        *ret_identity = identity;
    }
    return result;
}
