/*
 * Whether a move's channels are encrypted, as the two hosts' agents agree on it, and with which
 * key. Each host has a policy; its agent tells it with the host's facts, as "migration_encryption".
 * The source makes up the key and offers it with the request to reserve, which travels over mutual
 * TLS as all that agents say (peer.h); the destination answers what the channels will be, "tls13"
 * or "none". Both come to the same by themselves, from both policies: an answer that is another is
 * refused.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "mover/setup.h"

enum encryption_policy {
    ENCRYPTION_REQUIRED,      /* encrypted, or no move */
    ENCRYPTION_OPPORTUNISTIC, /* encrypted, unless the other host has it disabled */
    ENCRYPTION_DISABLED,      /* in clear, or no move */
};

/* "required", "opportunistic", "disabled", NULL. */
extern const char *const encryption_policies[];

/* What a host's facts say of it; a host that says nothing does not know encryption. -EINVAL when
 * it says what nobody understands. */
int encryption_policy_of(const json_t *facts, enum encryption_policy *ret_policy,
                         struct error *err);

/* 1 when channels between two such hosts are encrypted, 0 when not; -ENOTSUP when the one requires
 * what the other has disabled. */
int encryption_agree(enum encryption_policy here, enum encryption_policy there);

/* ---- at the source ---- */

/* Makes up the setup's key and adds it to the request, unless this host wants none. */
int encryption_offer(enum encryption_policy policy, json_t *request, struct mover_setup *setup,
                     struct error *err);

/* From the destination's answer: setup->encrypted. A key that is not used is wiped. */
int encryption_settle(enum encryption_policy policy, const json_t *answer,
                      struct mover_setup *setup, struct error *err);

/* ---- at the destination ---- */

/* From the source's request, whose facts are in "source": setup->encrypted and its key. */
int encryption_take(enum encryption_policy policy, const json_t *request, struct mover_setup *setup,
                    struct error *err);

/* Adds what the channels will be to the answer. */
void encryption_answer(const struct mover_setup *setup, json_t *answer);

/* ---- both ---- */

/* The mover has the key: nobody else needs it. */
void encryption_forget(struct mover_setup *setup);
