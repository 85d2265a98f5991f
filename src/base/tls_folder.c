/*
 * The folder of credentials: see tls_folder.h.
 *
 * Order of a change: ROLE.key.next (the new key) - ca.crt, ca.crl - ROLE.crt - ROLE.key.next is
 * renamed to ROLE.key. The one moment in which certificate and key differ is before the rename, and
 * then the key that fits lies beside them.
 */
#include "base/tls_folder.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/tls_key.h"
#include "base/tls_openssl.h"

#define CERTIFICATE_BYTES_MOST 65536

static char *path_of(const char *folder, enum tls_role role, const char *suffix)
{
    return file_path("%s/%s%s", folder, tls_role_words[role], suffix);
}

int tls_folder_request(const char *folder, enum tls_role role, char **ret_request,
                       struct error *err)
{
    CLEANUP_KEY EVP_PKEY *key = NULL;
    CLEANUP_FREE char *path = path_of(folder, role, ".key.next");
    int result = path ? file_make_folders(folder, 0700, err)
                      : error_set_errno(err, ENOMEM, "cannot make a key");
    if (result == 0) {
        result = tls_key_make(&key, err);
    }
    if (result == 0) {
        result = tls_key_write(path, key, err);
    }
    return result < 0 ? result : tls_request_make(key, ret_request, err);
}

/* ---- checking an answer: in a folder of its own, by loading it ---- */

static int write_file(const char *folder, const char *name, const char *text, struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/%s", folder, name);
    return path ? file_write_atomic(path, text, strlen(text), 0644, err)
                : error_set_errno(err, ENOMEM, "cannot write %s", name);
}

static int write_role_file(const char *folder, enum tls_role role, const char *suffix,
                           const char *text, struct error *err)
{
    char name[32];
    snprintf(name, sizeof(name), "%s%s", tls_role_words[role], suffix);
    return write_file(folder, name, text, err);
}

/* A link to the key that the certificate is for: it is written to no second place. */
static int link_key(const char *folder, const char *trial, enum tls_role role, const char *suffix,
                    struct error *err)
{
    CLEANUP_FREE char *key = path_of(folder, role, suffix);
    CLEANUP_FREE char *to = path_of(trial, role, ".key");
    if (!key || !to || link(key, to) < 0) {
        return error_set_errno(err, key && to ? errno : ENOMEM, "cannot try the new certificate");
    }
    return 0;
}

/* The certificate in use, when the answer brings none. */
static int link_certificate(const char *folder, const char *trial, enum tls_role role,
                            struct error *err)
{
    CLEANUP_FREE char *from = path_of(folder, role, ".crt");
    CLEANUP_FREE char *to = path_of(trial, role, ".crt");
    if (!from || !to || link(from, to) < 0) {
        return error_set_errno(err, from && to ? errno : ENOMEM, "cannot try the new authorities");
    }
    return 0;
}

static int fill_trial(const char *folder, const char *trial, enum tls_role role,
                      const struct tls_grant *grant, struct error *err)
{
    int result = write_file(trial, "ca.crt", grant->authorities, err);
    if (result == 0) {
        result = write_file(trial, "ca.crl", grant->revoked, err);
    }
    if (result == 0) {
        result = grant->certificate ? write_role_file(trial, role, ".crt", grant->certificate, err)
                                    : link_certificate(folder, trial, role, err);
    }
    return result < 0
               ? result
               : link_key(folder, trial, role, grant->certificate ? ".key.next" : ".key", err);
}

static int check_name(const struct tls_credentials *credentials, enum tls_role role,
                      const char *name, struct error *err)
{
    struct tls_identity identity;
    X509 *certificate = tls_credentials_certificate(credentials);
    int result = tls_certificate_identity(certificate, &identity, err);
    if (result < 0) {
        return result;
    }
    if (identity.role != role || (name && strcmp(identity.name, name) != 0)) {
        return error_set(err, EINVAL, "the certificate is for %s %s, not for %s %s",
                         tls_role_words[identity.role], identity.name, tls_role_words[role],
                         name ? name : "");
    }
    if (!tls_credentials_accept(credentials, certificate)) {
        return error_set(err, EINVAL,
                         "the certificate is not good under the authorities that came "
                         "with it");
    }
    return 0;
}

static int try_grant(const char *folder, enum tls_role role, const char *name,
                     const struct tls_grant *grant, struct error *err)
{
    struct error ignored;
    struct tls_credentials *credentials = NULL;
    CLEANUP_FREE char *trial = file_path("%s/.trial", folder);
    int result = trial ? file_remove_tree(trial, err)
                       : error_set_errno(err, ENOMEM, "cannot try the new certificate");
    if (result == 0) {
        result = file_make_folders(trial, 0700, err);
    }
    if (result == 0) {
        result = fill_trial(folder, trial, role, grant, err);
    }
    if (result == 0) {
        result = tls_credentials_load(trial, role, &credentials, err);
    }
    if (result == 0) {
        result = check_name(credentials, role, name, err);
    }
    tls_credentials_unref(credentials);
    if (trial) {
        file_remove_tree(trial, &ignored);
    }
    return result;
}

/* ---- storing ---- */

static int take_next_key(const char *folder, enum tls_role role, struct error *err)
{
    CLEANUP_FREE char *next = path_of(folder, role, ".key.next");
    CLEANUP_FREE char *key = path_of(folder, role, ".key");
    if (!next || !key || rename(next, key) < 0) {
        return error_set_errno(err, next && key ? errno : ENOMEM, "cannot take the new key");
    }
    return 0;
}

int tls_folder_store(const char *folder, enum tls_role role, const char *name,
                     const struct tls_grant *grant, struct error *err)
{
    int result = try_grant(folder, role, name, grant, err);
    if (result == 0) {
        result = write_file(folder, "ca.crt", grant->authorities, err);
    }
    if (result == 0) {
        result = write_file(folder, "ca.crl", grant->revoked, err);
    }
    if (result < 0 || !grant->certificate) {
        return result;
    }
    result = write_role_file(folder, role, ".crt", grant->certificate, err);
    return result < 0 ? result : take_next_key(folder, role, err);
}

/* Whether a crash came between the new certificate and its key. */
static bool next_key_fits(const char *folder, enum tls_role role)
{
    CLEANUP_FREE char *certificate_path = path_of(folder, role, ".crt");
    CLEANUP_FREE char *key_path = path_of(folder, role, ".key.next");
    CLEANUP_KEY EVP_PKEY *key = NULL;
    CLEANUP_CHAIN STACK_OF(X509) *found = NULL;
    CLEANUP_BUFFER struct buffer content = {0};
    struct error ignored;
    bool fits =
        certificate_path && key_path && tls_key_read(key_path, &key, &ignored) == 0 &&
        file_read(certificate_path, CERTIFICATE_BYTES_MOST, &content, &ignored) == 0 &&
        tls_certificates_read((char *)content.data, certificate_path, &found, &ignored) == 0 &&
        X509_check_private_key(sk_X509_value(found, 0), key) == 1;
    ERR_clear_error();
    return fits;
}

/* Not a key whose certificate is there: then only the last step of storing it is left to do. */
void tls_folder_abandon(const char *folder, enum tls_role role)
{
    CLEANUP_FREE char *path = path_of(folder, role, ".key.next");
    if (path && !next_key_fits(folder, role)) {
        unlink(path);
    }
}

int tls_folder_load(const char *folder, enum tls_role role,
                    struct tls_credentials **ret_credentials, struct error *err)
{
    int result = tls_credentials_load(folder, role, ret_credentials, err);
    if (result != -EINVAL || !next_key_fits(folder, role)) {
        return result;
    }
    result = take_next_key(folder, role, err);
    return result < 0 ? result : tls_credentials_load(folder, role, ret_credentials, err);
}
