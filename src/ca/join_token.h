/*
 * A join token: what an operator carries from the authority to a machine that is to join. It holds
 * the secret by which the authority knows the machine, and the fingerprint by which the machine
 * knows the authority. As text it is one word of base64url (of JSON), without line ends.
 */
#pragma once

#include "base/error.h"
#include "base/tls_certificate.h"

#define JOIN_SECRET_SIZE 65 /* 32 bytes in hexadecimal digits, and the terminator */

struct join_token {
    enum tls_role role;
    char name[TLS_NAME_SIZE];               /* for whom it is */
    char server[TLS_NAME_SIZE];             /* the host whose agent holds the authority */
    char fingerprint[TLS_FINGERPRINT_SIZE]; /* the authority's */
    char secret[JOIN_SECRET_SIZE];
};

/* The text, which the caller frees; NULL without memory. */
char *join_token_write(const struct join_token *token);

/* -EINVAL for what is no token; nothing of the text is in the error. */
int join_token_read(const char *text, struct join_token *ret_token, struct error *err);
