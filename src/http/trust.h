/*
 * This host's certificate and whom it trusts, as the agent uses them at this moment. Loaded from
 * the folder in the configuration; replaced as a whole when the folder changed, so that a renewed
 * certificate and a new list of revocations count from the next connection on, without a restart.
 * Safe from any thread.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/tls.h"

struct trust;

/* `folder` is copied; empty: a host without TLS. A folder that cannot be loaded is no failure: the
 * agent runs its VMs, and says what is wrong when somebody wants to connect. */
int trust_new(const char *folder, struct trust **ret_trust, struct error *err);

/* Takes NULL. */
void trust_free(struct trust *trust);

/* Loads the folder again. On failure what was loaded stays in use. */
int trust_reload(struct trust *trust, struct error *err);

/* Loads the folder again when somebody else has changed it: a host that joined, an operator with
 * certificates from elsewhere. A folder that is wrong is told about in trust_facts(). */
void trust_follow(struct trust *trust);

/* Called after each change, from the thread that made it. Once, before threads. */
void trust_on_change(struct trust *trust, void (*changed)(void *context), void *context);

/* A new reference; NULL with err (may be NULL) filled when there are none. */
struct tls_credentials *trust_credentials(struct trust *trust, struct error *err);

/* {"name", "not_before", "not_after", "authority": fingerprint, "problem": text or null}, times in
 * seconds since 1970; JSON null for a host without TLS. New reference. */
json_t *trust_facts(struct trust *trust);
