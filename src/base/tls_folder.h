/*
 * The folder that holds credentials (tls.h), and how they come into it: a key is made here, a
 * request leaves, a certificate comes back. The old certificate and key stay in use until the new
 * ones are complete; a crash in between is made good by the next tls_folder_load().
 */
#pragma once

#include "base/tls.h"

/* What an authority answers: all in PEM, borrowed. */
struct tls_grant {
    const char *certificate; /* NULL: only what is trusted has changed */
    const char *authorities; /* ca.crt */
    const char *revoked;     /* ca.crl */
};

/* Makes the folder (0700) and a new key in it; *ret_request, which the caller frees, is for the
 * authority. */
int tls_folder_request(const char *folder, enum tls_role role, char **ret_request,
                       struct error *err);

/* Forgets a request that got no answer. */
void tls_folder_abandon(const char *folder, enum tls_role role);

/* Checks an answer as a whole (the certificate fits the new key, comes from one of the authorities
 * and is not revoked), then stores it. With a name the certificate must be for that one. */
int tls_folder_store(const char *folder, enum tls_role role, const char *name,
                     const struct tls_grant *grant, struct error *err);

/* Loads what the folder holds, after it has finished what a crash left half done. */
int tls_folder_load(const char *folder, enum tls_role role,
                    struct tls_credentials **ret_credentials, struct error *err);
