/*
 * What the files around OpenSSL share: release on scope exit, and errors that carry OpenSSL's
 * reason. Outside of src/base only who hands an SSL_CTX to a library needs it.
 */
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/error.h"

static inline void tls_free_bio(BIO **bio)
{
    BIO_free_all(*bio);
}

static inline void tls_free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static inline void tls_free_certificate(X509 **certificate)
{
    X509_free(*certificate);
}

static inline void tls_free_request(X509_REQ **request)
{
    X509_REQ_free(*request);
}

static inline void tls_free_list(X509_CRL **list)
{
    X509_CRL_free(*list);
}

static inline void tls_free_chain(STACK_OF(X509) * *chain)
{
    sk_X509_pop_free(*chain, X509_free);
}

#define CLEANUP_BIO CLEANUP(tls_free_bio)
#define CLEANUP_KEY CLEANUP(tls_free_key)
#define CLEANUP_CERTIFICATE CLEANUP(tls_free_certificate)
#define CLEANUP_REQUEST CLEANUP(tls_free_request)
#define CLEANUP_REVOCATIONS CLEANUP(tls_free_list)
#define CLEANUP_CHAIN CLEANUP(tls_free_chain)

/* As error_set(), with OpenSSL's reason (the oldest in its queue, which is emptied) behind it. */
int tls_error_set(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What was written into a memory BIO, as text that the caller frees; NULL without memory. */
char *tls_text_of(BIO *bio);
