/* Credentials and contexts: see tls.h. */
#include "base/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/tls_key.h"
#include "base/tls_openssl.h"

#define FILE_BYTES_MOST ((size_t)4 << 20)

struct tls_credentials {
    atomic_uint references;
    STACK_OF(X509) * authorities;
    X509_STORE *store;
    X509 *certificate; /* NULL: none, and no key */
    EVP_PKEY *key;
};

/* ---- loading ---- */

static int read_text(const char *folder, const char *name, struct buffer *content,
                     struct error *err)
{
    CLEANUP_FREE char *path = file_path("%s/%s", folder, name);
    return path ? file_read(path, FILE_BYTES_MOST, content, err)
                : error_set_errno(err, ENOMEM, "cannot read %s", name);
}

static int load_authorities(struct tls_credentials *credentials, const char *folder,
                            struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = read_text(folder, "ca.crt", &content, err);
    if (result == 0) {
        result = tls_certificates_read((const char *)content.data, "ca.crt",
                                       &credentials->authorities, err);
    }
    for (int i = 0; result == 0 && i < sk_X509_num(credentials->authorities); i++) {
        if (!X509_STORE_add_cert(credentials->store, sk_X509_value(credentials->authorities, i))) {
            result = tls_error_set(err, EINVAL, "ca.crt cannot be used");
        }
    }
    return result;
}

/* From here on every certificate needs a list of its authority that does not name it. */
static int add_revocations(X509_STORE *store, const char *pem, struct error *err)
{
    CLEANUP_BIO BIO *bio = BIO_new_mem_buf(pem, -1);
    bool good = bio != NULL;
    bool found = false;
    while (good) {
        CLEANUP_REVOCATIONS X509_CRL *list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
        if (!list) {
            break;
        }
        found = true;
        good = X509_STORE_add_crl(store, list) == 1;
    }
    if (!good || !found || !X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK)) {
        return tls_error_set(err, EINVAL, "ca.crl holds no lists of revoked certificates");
    }
    ERR_clear_error();
    return 0;
}

static int load_revocations(struct tls_credentials *credentials, const char *folder,
                            enum tls_role role, struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = read_text(folder, "ca.crl", &content, err);
    if (result == -ENOENT && role == TLS_ROLE_OPERATOR) {
        return 0;
    }
    return result < 0 ? result
                      : add_revocations(credentials->store, (const char *)content.data, err);
}

static int load_certificate(struct tls_credentials *credentials, const char *path,
                            struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_CHAIN STACK_OF(X509) *found = NULL;
    int result = file_read(path, FILE_BYTES_MOST, &content, err);
    if (result == 0) {
        result = tls_certificates_read((const char *)content.data, path, &found, err);
    }
    if (result == 0) {
        credentials->certificate = sk_X509_shift(found);
    }
    return result;
}

static int load_own(struct tls_credentials *credentials, const char *folder, enum tls_role role,
                    struct error *err)
{
    CLEANUP_FREE char *certificate = file_path("%s/%s.crt", folder, tls_role_words[role]);
    CLEANUP_FREE char *key = file_path("%s/%s.key", folder, tls_role_words[role]);
    if (!certificate || !key) {
        return error_set_errno(err, ENOMEM, "cannot load certificates");
    }
    int result = load_certificate(credentials, certificate, err);
    if (result == -ENOENT && role == TLS_ROLE_OPERATOR) {
        return 0;
    }
    if (result == 0) {
        result = tls_key_read(key, &credentials->key, err);
    }
    if (result == 0 && X509_check_private_key(credentials->certificate, credentials->key) != 1) {
        result = tls_error_set(err, EINVAL, "%s and %s do not belong together", certificate, key);
    }
    return result;
}

int tls_credentials_load(const char *folder, enum tls_role role,
                         struct tls_credentials **ret_credentials, struct error *err)
{
    struct tls_credentials *credentials = calloc(1, sizeof(*credentials));
    if (!credentials || !(credentials->store = X509_STORE_new())) {
        free(credentials);
        return error_set_errno(err, ENOMEM, "cannot load certificates");
    }
    credentials->references = 1;
    int result = load_authorities(credentials, folder, err);
    if (result == 0) {
        result = load_revocations(credentials, folder, role, err);
    }
    if (result == 0) {
        result = load_own(credentials, folder, role, err);
    }
    if (result < 0) {
        tls_credentials_unref(credentials);
        return error_wrap(err, "certificates in %s", folder);
    }
    *ret_credentials = credentials;
    return 0;
}

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials)
{
    if (credentials) {
        atomic_fetch_add(&credentials->references, 1);
    }
    return credentials;
}

void tls_credentials_unref(struct tls_credentials *credentials)
{
    if (credentials && atomic_fetch_sub(&credentials->references, 1) == 1) {
        tls_free_chain(&credentials->authorities);
        X509_STORE_free(credentials->store);
        X509_free(credentials->certificate);
        EVP_PKEY_free(credentials->key);
        free(credentials);
    }
}

X509 *tls_credentials_certificate(const struct tls_credentials *credentials)
{
    return credentials->certificate;
}

static X509 *issuer_of(const struct tls_credentials *credentials)
{
    for (int i = 0; i < sk_X509_num(credentials->authorities); i++) {
        X509 *authority = sk_X509_value(credentials->authorities, i);
        if (X509_check_issued(authority, credentials->certificate) == X509_V_OK) {
            return authority;
        }
    }
    return NULL;
}

void tls_credentials_issuer(const struct tls_credentials *credentials,
                            char text[TLS_FINGERPRINT_SIZE])
{
    const X509 *issuer = credentials->certificate ? issuer_of(credentials) : NULL;
    text[0] = '\0';
    if (issuer) {
        tls_certificate_fingerprint(issuer, text);
    }
}

bool tls_credentials_accept(const struct tls_credentials *credentials, X509 *certificate)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    bool good = check && X509_STORE_CTX_init(check, credentials->store, certificate, NULL) &&
                X509_STORE_CTX_set_default(check, "ssl_client") && X509_verify_cert(check) == 1;
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return good;
}

/* ---- contexts ---- */

int tls_context_restrict(SSL_CTX *context, struct error *err)
{
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (!SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_num_tickets(context, 0)) {
        return tls_error_set(err, EIO, "cannot restrict connections to TLS 1.3");
    }
    return 0;
}

/* The authority goes with the certificate: who joins knows it by its fingerprint. */
int tls_serve(SSL *connection, const struct tls_credentials *credentials)
{
    X509 *issuer = credentials->certificate ? issuer_of(credentials) : NULL;
    if (!issuer || SSL_use_certificate(connection, credentials->certificate) != 1 ||
        SSL_use_PrivateKey(connection, credentials->key) != 1 ||
        SSL_add1_chain_cert(connection, issuer) != 1 ||
        SSL_set1_verify_cert_store(connection, credentials->store) != 1) {
        ERR_clear_error();
        return -EINVAL;
    }
    SSL_set_verify(connection, SSL_VERIFY_PEER, NULL);
    return 0;
}

static int expect_host(SSL_CTX *context, const char *host)
{
    X509_VERIFY_PARAM *parameters = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_WILDCARDS |
                                                    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(parameters, host, 0);
}

int tls_connect(SSL_CTX *context, const struct tls_credentials *credentials, const char *host,
                struct error *err)
{
    int result = tls_context_restrict(context, err);
    if (result < 0) {
        return result;
    }
    SSL_CTX_set1_cert_store(context, credentials->store);
    if (host && !expect_host(context, host)) {
        return tls_error_set(err, EINVAL, "cannot expect a certificate of %s", host);
    }
    if (credentials->certificate &&
        (SSL_CTX_use_certificate(context, credentials->certificate) != 1 ||
         SSL_CTX_use_PrivateKey(context, credentials->key) != 1)) {
        return tls_error_set(err, EINVAL, "cannot use our certificate");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return 0;
}

int tls_peer_identity(const SSL *connection, struct tls_identity *ret_identity, struct error *err)
{
    X509 *certificate = connection ? SSL_get0_peer_certificate(connection) : NULL;
    if (!certificate) {
        return 0;
    }
    if (SSL_get_verify_result(connection) != X509_V_OK) {
        return error_set(err, EINVAL, "the peer's certificate was not accepted");
    }
    int result = tls_certificate_identity(certificate, ret_identity, err);
    return result < 0 ? result : 1;
}

/* ---- who has nothing but a fingerprint ---- */

static X509 *find_pinned(STACK_OF(X509) * chain, const char *fingerprint)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        char found[TLS_FINGERPRINT_SIZE];
        tls_certificate_fingerprint(sk_X509_value(chain, i), found);
        if (strcmp(found, fingerprint) == 0) {
            return sk_X509_value(chain, i);
        }
    }
    return NULL;
}

/* In the place of OpenSSL's own verification: the same, with the pinned authority as the only one.
 */
static int verify_pinned(X509_STORE_CTX *check, void *context)
{
    X509 *authority = find_pinned(X509_STORE_CTX_get0_untrusted(check), context);
    STACK_OF(X509) *trusted = sk_X509_new_null();
    if (!authority || !trusted || !sk_X509_push(trusted, authority)) {
        sk_X509_free(trusted);
        X509_STORE_CTX_set_error(check, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
        return 0;
    }
    X509_STORE_CTX_set0_trusted_stack(check, trusted);
    int good = X509_verify_cert(check);
    sk_X509_free(trusted);
    return good;
}

int tls_connect_pinned(SSL_CTX *context, const char *fingerprint, const char *host,
                       struct error *err)
{
    int result = tls_context_restrict(context, err);
    if (result < 0) {
        return result;
    }
    if (!expect_host(context, host)) {
        return tls_error_set(err, EINVAL, "cannot expect a certificate of %s", host);
    }
    SSL_CTX_set_cert_verify_callback(context, verify_pinned, (void *)fingerprint);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return 0;
}

/* ---- alerts ---- */

bool tls_alert_words(const char *reason, char *words, size_t size)
{
    static const char mark[] = "alert ";
    const char *found = strstr(reason, mark);
    if (!found) {
        return false;
    }
    found += strlen(mark);
    snprintf(words, size, "%.*s", (int)strcspn(found, ","), found);
    return true;
}
