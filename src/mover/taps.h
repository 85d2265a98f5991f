/* All NICs of a machine at once: carrier and announcements. */
#pragma once

#include <stdbool.h>

#include "mover/setup.h"

struct taps {
    const struct mover_nic *nics; /* borrowed */
    size_t count;
};

/* A tap that cannot be switched is logged: it must not keep a guest from running. */
void taps_set_carrier(const struct taps *taps, bool carrier);

/* Tells the network where the guest is, once. */
void taps_announce(const struct taps *taps);

/* Goes on telling for about two seconds: bridges may learn late, and frames get lost. */
void taps_announce_repeatedly(const struct taps *taps);
