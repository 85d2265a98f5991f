/* Calls to another host's agent: REST over TLS, with this host's certificate, and only with who has
 * the certificate of the host that is meant. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "agent/agent.h"
#include "base/error.h"

/* Once, before threads. */
int peer_start(struct error *err);

/* Calls `method` ("GET", "POST", "DELETE") `path` with `body` (borrowed, may be NULL). On success
 * *ret_answer (may be NULL) is a new reference. An error answer of the peer becomes err, wrapped in
 * the peer's name; a peer that is not reached is -EHOSTUNREACH, one that is not who it should be
 * (or does not take us for who we are) -EACCES. */
int peer_call(const struct agent *agent, const struct config_peer *peer, const char *method,
              const char *path, const json_t *body, uint64_t timeout_ns, json_t **ret_answer,
              struct error *err);
