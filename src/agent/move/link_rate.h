/*
 * How fast the link to a peer carries a move, as far as this host can know before it: what the last
 * moves to that peer reached, else what the interfaces with the migration addresses say of
 * themselves, else an assumption. STATE_FOLDER/link_rates.json has the last few moves to each peer.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "agent/config.h"

enum link_rate_source { LINK_RATE_MEASURED, LINK_RATE_INTERFACE, LINK_RATE_ASSUMED };

struct link_rate {
    uint64_t bytes_per_second;
    enum link_rate_source source;
};

/* "measured", "interface", "assumed". */
const char *link_rate_source_name(enum link_rate_source source);

/* Never fails: what cannot be read is not known. */
struct link_rate link_rate_of(const struct agent_config *config, const char *peer);

/* Remembers the rate of a move to that peer that has ended now. Peers that the configuration no
 * longer names are forgotten. A failure is logged. */
void link_rate_remember(const struct agent_config *config, const char *peer,
                        uint64_t bytes_per_second);

/* The rate that a source mover's statistics show, in bytes a second: the fastest round that was
 * long enough to tell. 0 when there was none, or when it was `bandwidth_limit` (0: none) that held
 * it back. */
uint64_t link_rate_of_move(const json_t *statistics, uint64_t bandwidth_limit);
