/*
 * Which method a lane's next chunk is packed with: the decision, as a pure state machine.
 *
 * A method carries content at content_rate = min(its speed * idle, link rate / its ratio); sending
 * plainly carries it at the link's rate. The highest wins, with a margin to enter and a smaller one
 * to stay, so that what is packed is never slower than what is not.
 *
 * - Speeds and ratios are those of recent chunks. A method that is not in use is probed on one page
 *   in sixteen of a chunk. What failed (a probe that promised no gain, or a chunk that brought
 * none) is tried again only after PACK_CHOICE_PATIENCE times the time that it cost, and twice as
 * long after each further failure: trying costs less than 1 % however fast the link is.
 * - The link's rate is what the lane's sends achieve: bytes over time. While packing takes up most
 * of the lane's time that is only a lower bound; so now and then a stretch goes plainly and is
 *   measured, past what the socket's buffer swallows. It also finds what no model knows, such as
 *   a destination that unpacks too slowly: a stretch that goes faster than packing did ends
 *   the packing. Each stretch that confirms the packing doubles the distance to the next.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/pack.h"

#define PACK_CHOICE_PATIENCE 256u

/* What a method did lately: faded sums. */
struct pack_figures {
    double content;
    double packed;
    double time_ns;
};

struct pack_trial {
    uint64_t due_ns;   /* not tried before */
    unsigned patience; /* doublings */
};

struct pack_choice {
    enum pack_method method; /* in use for chunks without a base for differences */
    bool delta;              /* in use for chunks with one */
    double idle;
    struct pack_figures figures[PACK_METHODS];
    struct pack_trial trials[PACK_METHODS];
    struct pack_figures sent; /* the lane's recent sends: content, bytes on the wire, time */
    double packing_ns;        /* of sent.time_ns */
    double link;              /* bytes a second; 0 while unknown */
};

/* What to do with a chunk. */
struct pack_order {
    enum pack_method method;
    bool probe; /* probe this method first, tell pack_choice_probed(), and do what it says */
};

void pack_choice_init(struct pack_choice *choice);

/* 0 to 1: see pack_lane_set_idle(). */
void pack_choice_set_idle(struct pack_choice *choice, double idle);

/* Whether the next chunk may be packed or probed: false means that it is to be sent plainly. */
bool pack_choice_wants(const struct pack_choice *choice, uint64_t now_ns);

/* The order for the next chunk. `has_base`: enough of its pages have a base for a difference. */
struct pack_order pack_choice_next(const struct pack_choice *choice, bool has_base,
                                   uint64_t now_ns);

/* The probe's outcome and what it cost. The method that the chunk is to be packed with now. */
enum pack_method pack_choice_probed(struct pack_choice *choice, enum pack_method method,
                                    struct pack_probe probe, uint64_t cost_ns, bool has_base,
                                    uint64_t now_ns);

/* A chunk was packed (PACK_NONE: was not) and sent. */
struct pack_outcome {
    enum pack_method method; /* that was tried, also when it did not shrink */
    uint64_t content;        /* bytes */
    uint64_t sent;           /* bytes on the wire */
    uint64_t pack_ns;        /* spent on copying, probing and packing */
    uint64_t elapsed_ns;     /* since the lane's last send returned */
};
void pack_choice_sent(struct pack_choice *choice, const struct pack_outcome *outcome,
                      uint64_t now_ns);
