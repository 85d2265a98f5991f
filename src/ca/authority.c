/* The authority's folder: see authority.h. What it signs is in ledger.c. */
#include "ca/authority_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/tls_key.h"
#include "base/tls_openssl.h"

#define STATE_VERSION 1
#define STATE_BYTES_MOST ((size_t)64 << 20)
#define WHAT "ca.json"
#define SKEW_S 60 /* clocks differ: an authority's certificate is good from a little before */

int64_t authority_now(void)
{
    return (int64_t)time(NULL);
}

json_t *authority_list(const struct authority *authority, const char *key)
{
    return json_object_get(authority->state, key);
}

void authority_answer_done(struct authority_answer *answer)
{
    free(answer->certificate);
    free(answer->authorities);
    free(answer->revoked);
    *answer = (struct authority_answer){0};
}

struct tls_grant authority_answer_grant(const struct authority_answer *answer)
{
    return (struct tls_grant){answer->certificate, answer->authorities, answer->revoked};
}

/* ---- pairs of certificate and key ---- */

static char *pair_path(const char *folder, int64_t number, const char *suffix)
{
    return file_path("%s/authority-%lld.%s", folder, (long long)number, suffix);
}

void authority_pair_done(struct authority_pair *pair)
{
    X509_free(pair->certificate);
    EVP_PKEY_free(pair->key);
    *pair = (struct authority_pair){0};
}

static int fill_pair(struct authority_pair *pair, struct error *err)
{
    char name[64] = "Drover CA ";
    int64_t now = authority_now();
    random_hex(name + strlen(name), 4);
    int result = tls_key_make(&pair->key, err);
    return result < 0 ? result
                      : tls_authority_make(pair->key, name, now - SKEW_S,
                                           now + AUTHORITY_LIFETIME_S, &pair->certificate, err);
}

static int write_pair(const char *folder, const struct authority_pair *pair, struct error *err)
{
    CLEANUP_FREE char *key_path = pair_path(folder, pair->number, "key");
    CLEANUP_FREE char *certificate_path = pair_path(folder, pair->number, "crt");
    CLEANUP_FREE char *pem = tls_certificate_write(pair->certificate);
    if (!pem || !key_path || !certificate_path) {
        return error_set_errno(err, ENOMEM, "cannot make an authority");
    }
    int result = tls_key_write(key_path, pair->key, err);
    return result < 0 ? result : file_write_atomic(certificate_path, pem, strlen(pem), 0644, err);
}

int authority_make_pair(const char *folder, int64_t number, struct authority_pair *ret_pair,
                        struct error *err)
{
    struct authority_pair pair = {.number = number};
    int result = fill_pair(&pair, err);
    if (result == 0) {
        result = write_pair(folder, &pair, err);
    }
    if (result < 0) {
        authority_pair_done(&pair);
        return result;
    }
    *ret_pair = pair;
    return 0;
}

void authority_remove_pair(const char *folder, int64_t number)
{
    CLEANUP_FREE char *key_path = pair_path(folder, number, "key");
    CLEANUP_FREE char *certificate_path = pair_path(folder, number, "crt");
    if (key_path && certificate_path) {
        unlink(key_path);
        unlink(certificate_path);
    }
}

static int load_pair(const char *folder, int64_t number, struct authority_pair *pair,
                     struct error *err)
{
    CLEANUP_FREE char *key_path = pair_path(folder, number, "key");
    CLEANUP_FREE char *certificate_path = pair_path(folder, number, "crt");
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_CHAIN STACK_OF(X509) *found = NULL;
    if (!key_path || !certificate_path) {
        return error_set_errno(err, ENOMEM, "cannot open the authority");
    }
    pair->number = number;
    int result = tls_key_read(key_path, &pair->key, err);
    if (result == 0) {
        result = file_read(certificate_path, 65536, &content, err);
    }
    if (result == 0) {
        result = tls_certificates_read((char *)content.data, certificate_path, &found, err);
    }
    if (result == 0) {
        pair->certificate = sk_X509_shift(found);
    }
    return result;
}

/* ---- the state ---- */

static int load_pairs(struct authority *authority, struct error *err)
{
    int64_t signer;
    json_t *trusted = json_object_get(authority->state, "trusted");
    size_t count = json_array_size(trusted);
    int result = json_get_integer(authority->state, WHAT, "signer", 1, INT64_MAX, &signer, err);
    if (result == 0 && (count == 0 || count > AUTHORITIES_MOST)) {
        result = error_set(err, EINVAL, WHAT ": \"trusted\" must name one or two authorities");
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        int64_t number = json_integer_value(json_array_get(trusted, i));
        result = load_pair(authority->folder, number, &authority->trusted[i], err);
        authority->trusted_count = i + 1;
        authority->signer = number == signer ? i : authority->signer;
    }
    return result;
}

static int check_state(const struct authority *authority, struct error *err)
{
    int64_t version;
    int result = json_get_integer(authority->state, WHAT, "version", 1, INT64_MAX, &version, err);
    if (result == 0 && version > STATE_VERSION) {
        error_set(err, ENOTSUP, WHAT " has version %lld; this program knows version %d",
                  (long long)version, STATE_VERSION);
        return error_remedy(err, "install a newer Drover");
    }
    if (result == 0 && (!json_is_array(authority_list(authority, "certificates")) ||
                        !json_is_array(authority_list(authority, "tokens")))) {
        return error_set(err, EINVAL, WHAT " lacks its lists");
    }
    return result;
}

/* Waits for whoever has it open. */
static int lock_folder(struct authority *authority, struct error *err)
{
    authority->lock = open(authority->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (authority->lock < 0 || flock(authority->lock, LOCK_EX) < 0) {
        return error_set_errno(err, errno, "cannot open the authority in %s", authority->folder);
    }
    return 0;
}

static int load_state(struct authority *authority, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/" WHAT, authority->folder);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot open the authority");
    }
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        error_set(err, ENOENT, "there is no certificate authority in %s", authority->folder);
        return error_remedy(err, "\"drover ca init\" makes one");
    }
    authority->state = json_read_file(path, STATE_BYTES_MOST, err);
    if (!authority->state) {
        return -err->code;
    }
    int result = check_state(authority, err);
    return result < 0 ? result : load_pairs(authority, err);
}

static struct authority *authority_new(const char *folder)
{
    struct authority *authority = calloc(1, sizeof(*authority));
    if (authority) {
        authority->lock = -1;
        authority->folder = strdup(folder);
    }
    return authority;
}

int authority_open(const char *folder, struct authority **ret_authority, struct error *err)
{
    struct authority *authority = authority_new(folder);
    if (!authority || !authority->folder) {
        authority_close(authority);
        return error_set_errno(err, ENOMEM, "cannot open the authority");
    }
    int result = lock_folder(authority, err);
    if (result == 0) {
        result = load_state(authority, err);
    }
    if (result < 0) {
        authority_close(authority);
        return result;
    }
    *ret_authority = authority;
    return 0;
}

void authority_close(struct authority *authority)
{
    if (!authority) {
        return;
    }
    for (size_t i = 0; i < AUTHORITIES_MOST; i++) {
        authority_pair_done(&authority->trusted[i]);
    }
    json_decref(authority->state);
    close_fd(&authority->lock);
    free(authority->folder);
    free(authority);
}

/* ---- saving ---- */

static void leave_out_what_is_over(json_t *list, const char *key)
{
    int64_t now = authority_now();
    for (size_t i = json_array_size(list); i-- > 0;) {
        if (json_integer_value(json_object_get(json_array_get(list, i), key)) < now) {
            json_array_remove(list, i);
        }
    }
}

int authority_save(struct authority *authority, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/" WHAT, authority->folder);
    leave_out_what_is_over(authority_list(authority, "certificates"), "not_after");
    leave_out_what_is_over(authority_list(authority, "tokens"), "expires_at");
    return path ? json_write_file(path, authority->state, 0600, err)
                : error_set_errno(err, ENOMEM, "cannot save the authority");
}

int authority_change_trust(struct authority *authority, struct error *err)
{
    CLEANUP_FREE char *revoked = NULL;
    json_t *state = authority->state;
    json_t *trusted = json_array();
    int64_t list_number = json_integer_value(json_object_get(state, "list_number"));
    for (size_t i = 0; i < authority->trusted_count; i++) {
        json_array_append_new(trusted, json_integer(authority->trusted[i].number));
    }
    if (json_object_set_new(state, "trusted", trusted) ||
        json_object_set_new(state, "signer",
                            json_integer(authority->trusted[authority->signer].number)) ||
        json_object_set_new(state, "list_number", json_integer(list_number + 1))) {
        return error_set_errno(err, ENOMEM, "cannot save the authority");
    }
    int result = authority_make_revocations(authority, &revoked, err);
    if (result == 0 && json_object_set_new(state, "revoked", json_string(revoked))) {
        return error_set_errno(err, ENOMEM, "cannot save the authority");
    }
    return result < 0 ? result : authority_save(authority, err);
}

/* ---- making one ---- */

static int refuse_second(const char *folder, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/" WHAT, folder);
    if (!path || access(path, F_OK) == 0) {
        error_set(err, path ? EEXIST : ENOMEM, "there is a certificate authority in %s already",
                  folder);
        return error_remedy(err, "a cluster has one; \"drover ca list\" shows what it issued");
    }
    return 0;
}

int authority_init(const char *folder, int64_t lifetime_s, struct error *err)
{
    int result = refuse_second(folder, err);
    if (result == 0) {
        result = file_make_folders(folder, 0700, err);
    }
    if (result < 0) {
        return result;
    }
    CLEANUP_AUTHORITY struct authority *authority = authority_new(folder);
    if (!authority || !authority->folder) {
        return error_set_errno(err, ENOMEM, "cannot make an authority");
    }
    result = lock_folder(authority, err);
    if (result == 0) {
        result = refuse_second(folder, err); /* made while we waited */
    }
    if (result == 0) {
        result = authority_make_pair(folder, 1, &authority->trusted[0], err);
    }
    if (result < 0) {
        return result;
    }
    authority->trusted_count = 1;
    authority->state =
        json_pack("{s:i, s:I, s:i, s:[], s:[]}", "version", STATE_VERSION, "certificate_lifetime_s",
                  (json_int_t)lifetime_s, "list_number", 0, "certificates", "tokens");
    return authority->state ? authority_change_trust(authority, err)
                            : error_set_errno(err, ENOMEM, "cannot make an authority");
}
