/*
 * Certificates as Drover makes and reads them.
 *
 * A certificate says one thing: whose the key is. The one subject alternative name says it, and
 * nothing else is believed (the common name is for people):
 *
 *     a host       DNS:h2, and maybe IP addresses at which people reach it; server and client
 *     an operator  URI:drover:operator:alice; client only
 *
 * Times are seconds since 1970. Objects are OpenSSL's; whoever gets one frees it.
 */
#pragma once

#include <jansson.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define TLS_NAME_SIZE 64
#define TLS_ADDRESS_SIZE 46
#define TLS_ADDRESSES_MOST 8
#define TLS_FINGERPRINT_SIZE 65 /* SHA-256 in hexadecimal digits, and the terminator */
#define TLS_SERIAL_SIZE 41

enum tls_role { TLS_ROLE_HOST, TLS_ROLE_OPERATOR };

/* "host" and "operator". */
extern const char *const tls_role_words[];

struct tls_identity {
    enum tls_role role;
    char name[TLS_NAME_SIZE];
    char addresses[TLS_ADDRESSES_MOST][TLS_ADDRESS_SIZE]; /* a host's; numeric */
    size_t address_count;
};

/* Fills an identity; -EINVAL for what cannot be one: a name that is none (file_name_is_safe()) or
 * an address itself, addresses that are not numeric, too many, or an operator's. */
int tls_identity_make(enum tls_role role, const char *name, const char *const *addresses,
                      size_t address_count, struct tls_identity *ret_identity, struct error *err);

/* From {"name", "role" (host when missing), "addresses" (none when missing)}; `what` is the
 * object's name in errors. */
int tls_identity_from_json(const json_t *object, const char *what,
                           struct tls_identity *ret_identity, struct error *err);

/* The certificate of an authority, signed by itself; `name` is for people. */
int tls_authority_make(EVP_PKEY *key, const char *name, int64_t not_before, int64_t not_after,
                       X509 **ret_certificate, struct error *err);

struct tls_issue {
    const struct tls_identity *identity;
    EVP_PKEY *public_key;
    X509 *issuer;
    EVP_PKEY *issuer_key;
    int64_t not_before;
    int64_t not_after;
};

/* A certificate for that identity, with a random serial number. */
int tls_certificate_make(const struct tls_issue *issue, X509 **ret_certificate, struct error *err);

/* Whose it is; -EINVAL when it says no name, or more than one. */
int tls_certificate_identity(const X509 *certificate, struct tls_identity *ret_identity,
                             struct error *err);

void tls_certificate_fingerprint(const X509 *certificate, char text[TLS_FINGERPRINT_SIZE]);
void tls_certificate_serial(const X509 *certificate, char text[TLS_SERIAL_SIZE]);
void tls_certificate_times(const X509 *certificate, int64_t *ret_not_before,
                           int64_t *ret_not_after);

/* PEM of certificates, one after the other; the caller frees it. NULL without memory. */
char *tls_certificates_write(STACK_OF(X509) * certificates);
char *tls_certificate_write(X509 *certificate);

/* At least one certificate; `what` names the text in errors. */
int tls_certificates_read(const char *pem, const char *what, STACK_OF(X509) * *ret_certificates,
                          struct error *err);
