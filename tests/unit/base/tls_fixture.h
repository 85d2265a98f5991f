/* Authorities and folders of credentials (base/tls.h) with any names and times, for tests. */
#pragma once

#include <stdbool.h>

#include "base/tls_certificate.h"

struct tls_fixture_authority {
    EVP_PKEY *key;
    X509 *certificate;
};

#define TLS_FIXTURE_HOUR INT64_C(3600)

void tls_fixture_authority_make(struct tls_fixture_authority *authority);
void tls_fixture_authority_done(struct tls_fixture_authority *authority);

/* Who is certified: by whom, from when until when (seconds from now). */
struct tls_fixture_subject {
    const struct tls_fixture_authority *authority;
    enum tls_role role;
    const char *name;
    int64_t from;
    int64_t until;
};

/* Makes `folder` with the subject's certificate and key, `trusted` as ca.crt, and a list that
 * revokes `revoked` (a folder whose own certificate it is; NULL: nobody's). */
void tls_fixture_folder_make(const char *folder, const struct tls_fixture_subject *subject,
                             const struct tls_fixture_authority *trusted, const char *revoked);

/* Writes another list into a folder. */
void tls_fixture_revoke(const char *folder, const struct tls_fixture_authority *authority,
                        const char *revoked);
