/* What the authority signs, and remembers: certificates, and lists of those it revoked. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/tls_key.h"
#include "base/tls_openssl.h"
#include "base/tls_revocation.h"
#include "ca/authority_internal.h"

#define SKEW_MOST_S 60 /* clocks differ: a certificate is good from a little before */
#define LIFETIME_LEAST_S 1

/* ---- entries ---- */

int authority_put_identity(json_t *object, const struct tls_identity *identity)
{
    json_t *addresses = json_array();
    for (size_t i = 0; i < identity->address_count; i++) {
        json_array_append_new(addresses, json_string(identity->addresses[i]));
    }
    return json_object_set_new(object, "role", json_string(tls_role_words[identity->role])) ||
                   json_object_set_new(object, "name", json_string(identity->name)) ||
                   json_object_set_new(object, "addresses", addresses)
               ? -ENOMEM
               : 0;
}

static int64_t time_of(const json_t *entry, const char *key)
{
    return json_integer_value(json_object_get(entry, key));
}

bool authority_entry_is_good(const json_t *entry, int64_t now)
{
    return !json_is_integer(json_object_get(entry, "revoked_at")) &&
           time_of(entry, "not_after") >= now;
}

static const char *text_of(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));
    return text ? text : "";
}

bool authority_entry_is_of(const json_t *entry, enum tls_role role, const char *name)
{
    return strcmp(text_of(entry, "role"), tls_role_words[role]) == 0 &&
           strcmp(text_of(entry, "name"), name) == 0;
}

/* ---- issuing ---- */

/* DNS names do not tell H2 from h2: neither may an authority. */
static int refuse_lookalike(const struct authority *authority, const struct tls_identity *identity,
                            struct error *err)
{
    int64_t now = authority_now();
    size_t index;
    const json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        const char *name = text_of(entry, "name");
        if (authority_entry_is_good(entry, now) && strcasecmp(name, identity->name) == 0 &&
            strcmp(name, identity->name) != 0) {
            error_set(err, EEXIST, "the name %s differs from %s in nothing but capitals",
                      identity->name, name);
            return error_remedy(err, "choose another name");
        }
    }
    return 0;
}

static int record(struct authority *authority, const struct tls_identity *identity,
                  const X509 *certificate)
{
    char serial[TLS_SERIAL_SIZE];
    int64_t not_before;
    int64_t not_after;
    tls_certificate_serial(certificate, serial);
    tls_certificate_times(certificate, &not_before, &not_after);
    json_t *entry =
        json_pack("{s:s, s:I, s:I, s:n, s:I}", "serial", serial, "not_before",
                  (json_int_t)not_before, "not_after", (json_int_t)not_after, "revoked_at",
                  "issuer", (json_int_t)authority->trusted[authority->signer].number);
    if (!entry || authority_put_identity(entry, identity) < 0) {
        json_decref(entry);
        return -ENOMEM;
    }
    return json_array_append_new(authority_list(authority, "certificates"), entry);
}

static int sign(const struct authority *authority, const struct tls_identity *identity,
                EVP_PKEY *public_key, X509 **ret_certificate, struct error *err)
{
    const struct authority_pair *signer = &authority->trusted[authority->signer];
    int64_t now = authority_now();
    int64_t lifetime;
    int result = json_get_integer(authority->state, "ca.json", "certificate_lifetime_s",
                                  LIFETIME_LEAST_S, AUTHORITY_LIFETIME_S, &lifetime, err);
    if (result < 0) {
        return result;
    }
    int64_t skew = lifetime / 10 < SKEW_MOST_S ? lifetime / 10 : SKEW_MOST_S;
    const struct tls_issue issue = {
        .identity = identity,
        .public_key = public_key,
        .issuer = signer->certificate,
        .issuer_key = signer->key,
        .not_before = now - skew,
        .not_after = now + lifetime,
    };
    return tls_certificate_make(&issue, ret_certificate, err);
}

int authority_sign(struct authority *authority, const struct tls_identity *identity,
                   EVP_PKEY *public_key, struct authority_answer *ret_answer, struct error *err)
{
    CLEANUP_CERTIFICATE X509 *certificate = NULL;
    int result = refuse_lookalike(authority, identity, err);
    if (result == 0) {
        result = sign(authority, identity, public_key, &certificate, err);
    }
    if (result < 0) {
        return result;
    }
    ret_answer->certificate = tls_certificate_write(certificate);
    if (!ret_answer->certificate || record(authority, identity, certificate) < 0) {
        return error_set_errno(err, ENOMEM, "cannot issue a certificate");
    }
    return 0;
}

/* The end of everything that hands a certificate out: durable first. */
static int save_and_answer(struct authority *authority, struct authority_answer *answer,
                           struct authority_answer *ret_answer, struct error *err)
{
    int result = authority_save(authority, err);
    if (result == 0) {
        char *certificate = steal_pointer(&answer->certificate);
        result = authority_trust(authority, answer, err);
        answer->certificate = certificate;
    }
    if (result == 0) {
        *ret_answer = *answer;
        *answer = (struct authority_answer){0};
    }
    return result;
}

int authority_issue(struct authority *authority, const struct tls_identity *identity,
                    const char *request, struct authority_answer *ret_answer, struct error *err)
{
    CLEANUP_KEY EVP_PKEY *key = NULL;
    CLEANUP_AUTHORITY_ANSWER struct authority_answer answer = {0};
    int result = tls_request_read(request, &key, err);
    if (result == 0) {
        result = authority_sign(authority, identity, key, &answer, err);
    }
    return result < 0 ? result : save_and_answer(authority, &answer, ret_answer, err);
}

int authority_renew(struct authority *authority, enum tls_role role, const char *name,
                    const char *request, struct authority_answer *ret_answer, struct error *err)
{
    struct tls_identity identity;
    int64_t now = authority_now();
    const json_t *found = NULL;
    size_t index;
    const json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        if (authority_entry_is_of(entry, role, name) && authority_entry_is_good(entry, now)) {
            found = entry;
        }
    }
    if (!found) {
        error_set(err, EACCES, "%s %s has no certificate that could be renewed",
                  tls_role_words[role], name);
        return error_remedy(err, "let it join again: drover ca token %s", name);
    }
    int result = tls_identity_from_json(found, AUTHORITY_ENTRY, &identity, err);
    return result < 0 ? result : authority_issue(authority, &identity, request, ret_answer, err);
}

/* ---- revoking ---- */

int authority_revoke(struct authority *authority, enum tls_role role, const char *name,
                     size_t *ret_count, struct error *err)
{
    int64_t now = authority_now();
    size_t count = 0;
    size_t index;
    json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        if (authority_entry_is_of(entry, role, name) && authority_entry_is_good(entry, now)) {
            json_object_set_new(entry, "revoked_at", json_integer(now));
            count++;
        }
    }
    if (count == 0) {
        error_set(err, ENOENT, "%s %s has no certificate that could be revoked",
                  tls_role_words[role], name);
        return error_remedy(err, "\"drover ca list\" shows who has one");
    }
    int result = authority_change_trust(authority, err);
    if (result == 0) {
        *ret_count = count;
    }
    return result;
}

/* Those that one of the authorities revoked: `revoked` has room for all entries. */
static size_t collect_revoked(const struct authority *authority, int64_t issuer,
                              struct tls_revoked *revoked)
{
    size_t count = 0;
    size_t index;
    const json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        if (json_is_integer(json_object_get(entry, "revoked_at")) &&
            time_of(entry, "issuer") == issuer) {
            revoked[count++] =
                (struct tls_revoked){text_of(entry, "serial"), time_of(entry, "revoked_at")};
        }
    }
    return count;
}

static int make_list(const struct authority *authority, const struct authority_pair *pair,
                     char **ret_pem, struct error *err)
{
    size_t entries = json_array_size(authority_list(authority, "certificates"));
    CLEANUP_FREE struct tls_revoked *revoked = calloc(entries + 1, sizeof(*revoked));
    if (!revoked) {
        return error_set_errno(err, ENOMEM, "cannot list what is revoked");
    }
    int64_t not_before;
    int64_t not_after;
    tls_certificate_times(pair->certificate, &not_before, &not_after);
    const struct tls_revocations list = {
        .issuer = pair->certificate,
        .issuer_key = pair->key,
        .revoked = revoked,
        .count = collect_revoked(authority, pair->number, revoked),
        .number = (uint64_t)time_of(authority->state, "list_number"),
        .from = not_before, /* not of today: a host whose clock is behind must take it, too */
        .until = not_after, /* the age of a list is the agents' to watch, not a reason to stop */
    };
    return tls_revocations_make(&list, ret_pem, err);
}

int authority_make_revocations(const struct authority *authority, char **ret_pem, struct error *err)
{
    CLEANUP_BUFFER struct buffer all = {0};
    int result = 0;
    for (size_t i = 0; result == 0 && i < authority->trusted_count; i++) {
        CLEANUP_FREE char *list = NULL;
        result = make_list(authority, &authority->trusted[i], &list, err);
        if (result == 0 && buffer_append_format(&all, "%s", list) < 0) {
            result = error_set_errno(err, ENOMEM, "cannot list what is revoked");
        }
    }
    if (result < 0) {
        return result;
    }
    char *pem = all.data ? strndup((const char *)all.data, all.length) : NULL;
    if (!pem) {
        return error_set_errno(err, ENOMEM, "cannot list what is revoked");
    }
    *ret_pem = pem;
    return 0;
}

/* ---- what it tells ---- */

int authority_trust(const struct authority *authority, struct authority_answer *ret_answer,
                    struct error *err)
{
    bool two = authority->trusted_count > 1;
    CLEANUP_FREE char *first = tls_certificate_write(authority->trusted[0].certificate);
    CLEANUP_FREE char *second =
        two ? tls_certificate_write(authority->trusted[1].certificate) : strdup("");
    struct authority_answer answer = {
        .authorities = first && second ? file_path("%s%s", first, second) : NULL,
        .revoked = strdup(text_of(authority->state, "revoked")),
    };
    if (!answer.authorities || !answer.revoked) {
        authority_answer_done(&answer);
        return error_set_errno(err, ENOMEM, "cannot tell what is trusted");
    }
    *ret_answer = answer;
    return 0;
}

void authority_fingerprint(const struct authority *authority, char text[TLS_FINGERPRINT_SIZE])
{
    tls_certificate_fingerprint(authority->trusted[authority->signer].certificate, text);
}

static json_t *issuer_of(const struct authority *authority, const json_t *entry)
{
    char fingerprint[TLS_FINGERPRINT_SIZE];
    for (size_t i = 0; i < authority->trusted_count; i++) {
        if (authority->trusted[i].number == time_of(entry, "issuer")) {
            tls_certificate_fingerprint(authority->trusted[i].certificate, fingerprint);
            return json_string(fingerprint);
        }
    }
    return json_null();
}

json_t *authority_certificates(const struct authority *authority)
{
    json_t *list = json_array();
    int64_t now = authority_now();
    size_t index;
    json_t *entry;
    json_array_foreach (authority_list(authority, "certificates"), index, entry) {
        json_t *copy = time_of(entry, "not_after") >= now ? json_copy(entry) : NULL;
        if (copy) {
            json_object_del(copy, "issuer");
            json_object_set_new(copy, "authority", issuer_of(authority, entry));
            json_array_append_new(list, copy);
        }
    }
    return list;
}
