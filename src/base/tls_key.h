/*
 * Keys, and requests for certificates.
 *
 * A key is an EC key on P-256. It is made where it is used, is written to files of mode 0600 only,
 * and never travels: what travels is a request (PKCS#10), in which the key signs itself. A request
 * has no names in it: which name its key gets a certificate for is the authority's to know.
 */
#pragma once

#include <openssl/evp.h>

#include "base/error.h"

/* A fresh key; the caller frees it (EVP_PKEY_free, CLEANUP_KEY). */
int tls_key_make(EVP_PKEY **ret_key, struct error *err);

/* Writes a key atomically, for its owner only (0600). */
int tls_key_write(const char *path, EVP_PKEY *key, struct error *err);

/* Reads a key; -EACCES when others than the file's owner could have read it, too. */
int tls_key_read(const char *path, EVP_PKEY **ret_key, struct error *err);

/* A request in PEM, which the caller frees. */
int tls_request_make(EVP_PKEY *key, char **ret_pem, struct error *err);

/* The public key of a request from somebody else; -EINVAL for what is none, for another kind of key
 * than P-256, and when the request was not signed by that key. */
int tls_request_read(const char *pem, EVP_PKEY **ret_public, struct error *err);
