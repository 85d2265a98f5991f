/*
 * Who we are and whom we trust, in OpenSSL's hands.
 *
 * Credentials are what a folder holds at one moment:
 *
 *     ca.crt                      the authorities: one, or two while one takes over from the other
 *     ca.crl                      what they revoked: a list of each of them
 *     host.crt, host.key          this host's own (or operator.crt, operator.key: a person's)
 *
 * They never change: whoever learns that the folder did loads others, and connections that are
 * under way keep theirs. A host's are complete, or there are none. An operator's may be ca.crt
 * alone: he shows a token instead of a certificate.
 *
 * Rules of every connection: TLS 1.3 and nothing older, no session is resumed (which would skip the
 * look at who it is), certificates of hosts are as good as the authorities' lists say at that
 * moment.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/error.h"
#include "base/tls_certificate.h"

struct tls_credentials;

/* -ENOENT when the folder has none; -EACCES when the key is not its owner's alone. */
int tls_credentials_load(const char *folder, enum tls_role role,
                         struct tls_credentials **ret_credentials, struct error *err);

/* Another reference; and the end of one, which takes NULL. From any thread. */
struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials);
void tls_credentials_unref(struct tls_credentials *credentials);

/* Our own certificate, borrowed; NULL for an operator without one. */
X509 *tls_credentials_certificate(const struct tls_credentials *credentials);

/* The fingerprint of the authority that issued our own certificate; empty when that is none of
 * those trusted. */
void tls_credentials_issuer(const struct tls_credentials *credentials,
                            char text[TLS_FINGERPRINT_SIZE]);

/* Whether a certificate is one of our authorities', not ended and not revoked: for what was let in
 * under earlier credentials. */
bool tls_credentials_accept(const struct tls_credentials *credentials, X509 *certificate);

/* Sets the rules above for all connections of a context. */
int tls_context_restrict(SSL_CTX *context, struct error *err);

/* A server's connection, before it answers the client's first message. The client is asked for a
 * certificate, and may have none: tls_peer_identity() tells. 0 or negative. */
int tls_serve(SSL *connection, const struct tls_credentials *credentials);

/* A client's context: shows our certificate if there is one, and believes only a server of our
 * authorities that has a certificate for `host` (its name; NULL: the caller checks that). */
int tls_connect(SSL_CTX *context, const struct tls_credentials *credentials, const char *host,
                struct error *err);

/* A client's context that believes nobody but the server `host` of the one authority with that
 * fingerprint: for who has no credentials yet and was told the fingerprint. The string must outlive
 * the context. */
int tls_connect_pinned(SSL_CTX *context, const char *fingerprint, const char *host,
                       struct error *err);

/* Whose certificate the peer showed: 1; 0 when it showed none; -EINVAL. */
int tls_peer_identity(const SSL *connection, struct tls_identity *ret_identity, struct error *err);

/* What an alert of the peer says ("certificate revoked"), out of a library's words for the failure;
 * false when these tell of none. In TLS 1.3 a server refuses a client's certificate after the
 * client's part of the handshake is over: so it is a read that fails, with an alert. */
bool tls_alert_words(const char *reason, char *words, size_t size);
