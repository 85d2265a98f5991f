/*
 * What a move will be like, told before it begins: from a short look at how the guest writes its
 * memory. Pure functions; the look is the mover's (mover/sample_session.c), the terms are the
 * agent's.
 *
 * The model. A guest's writing is its working set curve W(t): the bytes of distinct pages that it
 * dirties within t (Denning, "The Working Set Model for Program Behavior", 1968). Each page is
 * collected right before its turn in a round, which comes at moments spread evenly over it: so a
 * round of length T leaves dirty the mean of W over [0, T], and the next one, of length U, sends
 * the mean of W between U and T. Pages that are written all the time are deferred to the last pass.
 * Rounds go on as long as they get clearly shorter. When they no longer do and the blackout is
 * still too long, writers are paced, if they may be: they dirty no more than half of what the link
 * carries.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/source.h"

#define ENGINE_SAMPLE_POINTS_MOST 16u

/* Within `after_ns` of the beginning so many bytes of distinct pages were dirtied. */
struct engine_sample_point {
    uint64_t after_ns;
    uint64_t bytes;
};

/* A look at a guest. */
struct engine_sample {
    uint64_t memory_bytes;
    uint64_t populated_bytes;
    double zero_share;   /* of the populated pages, that are all zeroes: 0 to 1 */
    double packed_share; /* what compression leaves of the others: above 0, 1 when it is unknown */
    uint64_t hot_bytes;  /* pages dirtied in every one of the intervals between the points */
    uint64_t collect_ns; /* what one collection takes */
    uint32_t point_count;
    struct engine_sample_point points[ENGINE_SAMPLE_POINTS_MOST]; /* ascending */
};

/* What the move has to work with. */
struct engine_forecast_terms {
    uint64_t link_rate;          /* bytes a second, above 0 */
    uint64_t bandwidth_limit;    /* likewise; 0: none */
    uint64_t device_state_ns;    /* what saving and loading it takes */
    uint64_t device_state_bytes; /* about what it is on the wire */
    uint64_t blackout_target_ns;
    uint64_t timeout_ns; /* 0: none */
    enum engine_on_timeout on_timeout;
    bool pace;
    bool compress;
};

/* What keeps a move from being shorter, or from ending at all. */
enum engine_limit {
    ENGINE_LIMIT_LINK,
    ENGINE_LIMIT_BANDWIDTH, /* the limit that was asked for */
    ENGINE_LIMIT_WRITERS,
    ENGINE_LIMIT_DEVICE_STATE,
    ENGINE_LIMITS
};

struct engine_forecast {
    bool keeps_target;    /* the blackout is within its target */
    bool keeps_timeout;   /* and that in time; true when there is no limit */
    uint32_t rounds;      /* the last one, with the guest stopped, included */
    uint64_t duration_ns; /* UINT64_MAX: it does not come to an end */
    uint64_t blackout_ns;
    uint64_t bytes; /* on the wire; of a move that does not end, until its rounds stop shrinking */
    uint64_t paced_ns;   /* writers are made to wait for so long; 0: not at all */
    double writing_lost; /* in that time, of what the guest would have dirtied: 0 to 1 */
    enum engine_limit limited_by;
};

struct engine_forecast engine_forecast(const struct engine_sample *sample,
                                       const struct engine_forecast_terms *terms);

/* "link", "bandwidth limit", "writers", "device state". */
const char *engine_limit_name(enum engine_limit limit);

/* Bytes of distinct pages dirtied within `within_ns`; past the last point, as between the last two.
 */
uint64_t engine_sample_dirtied(const struct engine_sample *sample, uint64_t within_ns);

/* Bytes of distinct pages dirtied in a second, as other tools count it; of a shorter look, on
 * average over it. */
uint64_t engine_sample_dirty_rate(const struct engine_sample *sample);
