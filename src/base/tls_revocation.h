/* Lists of revoked certificates (CRLs): made by an authority, distributed to all who check. */
#pragma once

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tls_revoked {
    const char *serial; /* hexadecimal, as tls_certificate_serial() writes it */
    int64_t at;         /* seconds since 1970 */
};

struct tls_revocations {
    X509 *issuer;
    EVP_PKEY *issuer_key;
    const struct tls_revoked *revoked;
    size_t count;
    uint64_t number; /* grows with every list of this authority */
    int64_t from;
    int64_t until; /* a list that has ended is refused, and with it every certificate */
};

/* The list in PEM, which the caller frees. */
int tls_revocations_make(const struct tls_revocations *revocations, char **ret_pem,
                         struct error *err);
