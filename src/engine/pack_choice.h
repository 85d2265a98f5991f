/*
 * Which method a lane's next chunk is packed with: the decision, as a pure state machine.
 *
 * A method carries content at min(its speed * idle, link rate / its ratio); sending plainly carries
 * it at the link's rate. The highest wins, with a margin to enter and a smaller one to stay, so
 * that what is packed is not slower than what is not.
 *
 * Of lz4 and zstd, where both shrink the data, the socket's buffer decides chunk by chunk: so both
 * the link and the lane's processor are used to the full.
 *
 * Speeds and ratios are those of recent chunks; a speed is that of a processor all of whose time
 * the lane has. A method that is not in use is probed on one page
 * in PACK_PROBE_INTERVAL of a chunk. After a probe that promises no gain, or a method given up, it
 * is left alone for PACK_CHOICE_PATIENCE times what that took, and for twice as long after each
 * further failure: so trying costs less than 1 % of the time, however fast the link is.
 *
 * The link's rate is what leaves the lane's socket, measured in windows: what was sent, less what
 * its buffer swallowed. While packing takes most of the lane's time that is a lower bound only. So
 * now and then a *stretch* goes plainly, and its rate is measured. That also finds what no model
 * knows, such as a destination slow in unpacking: when plain content went faster than packed
 * content did, packing ends. Each stretch that confirms the packing doubles the distance to the
 * next.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/pack.h"

#define PACK_CHOICE_PATIENCE 256u

/* What a method did lately: faded sums. */
struct pack_figures {
    double content; /* bytes */
    double packed;
    double time_ns;
};

struct pack_trial {
    uint64_t due_ns;   /* not probed before, unless the link has become much slower than ... */
    double link;       /* ... it was at the last failure */
    unsigned failures; /* in a row */
    unsigned chunks;   /* packed since it came into use */
};

/* What the lane sent since the window began. */
struct pack_window {
    double content; /* bytes of pages */
    double sent;    /* bytes for the wire */
    double left;    /* of the socket, for good: what the link carried */
    double time_ns;
    double packing_ns; /* of time_ns */
};

struct pack_choice {
    enum pack_method method; /* in use for chunks without a base for differences; of lz4 and zstd
                                it stands for both */
    bool delta;              /* differences are in use for the others */
    double idle;
    struct pack_figures figures[PACK_METHODS];
    struct pack_trial trials[PACK_METHODS];
    double link; /* bytes a second; 0 while unknown */

    struct pack_window window;
    double queued;        /* bytes in the socket after the last send */
    bool stretch;         /* goes plainly, to be measured ... */
    bool draining;        /* ... once what was packed before it has left both sockets */
    double content_rate;  /* of the last window that was not a stretch */
    double since_stretch; /* bytes of content */
    double stretch_distance;
    unsigned losses; /* stretches in a row that went faster than packed content */
};

/* What to do with a chunk. */
struct pack_order {
    enum pack_method method;
    bool probe; /* probe this method, tell pack_choice_probed(), and do what it says */
};

/* A chunk was packed (or not) and its send returned. */
struct pack_outcome {
    enum pack_method method; /* that was tried, also when it did not shrink */
    uint64_t content;        /* bytes */
    uint64_t sent;           /* bytes on the wire */
    uint64_t queued;         /* bytes that are still in the lane's socket */
    uint64_t pack_ns;        /* that passed with copying and packing; 0 for PACK_NONE */
    uint64_t work_ns;        /* what of a processor that took */
    uint64_t elapsed_ns;     /* in all, since the lane's last send returned */
};

void pack_choice_init(struct pack_choice *choice);

/* Of one processor's time, what this lane may spend on packing: 0 to 1. */
void pack_choice_set_idle(struct pack_choice *choice, double idle);

/* Sending begins (again): the time that passed, and what else was put into the socket, does not
 * count. So many bytes are in it. */
void pack_choice_resume(struct pack_choice *choice, uint64_t queued);

/* Whether the next chunk may be packed or probed; false: it is to be sent plainly. */
bool pack_choice_wants(const struct pack_choice *choice, uint64_t now_ns);

/* Whether the link is slow enough for differences to pay, should there be a base for them. */
bool pack_choice_wants_bases(const struct pack_choice *choice);

/* The order for the next chunk. `has_base`: enough of its pages have a base for a difference. */
struct pack_order pack_choice_next(const struct pack_choice *choice, bool has_base,
                                   uint64_t now_ns);

/* What the ordered probe came to, and what it took of a processor. The method for the chunk itself.
 */
enum pack_method pack_choice_probed(struct pack_choice *choice, enum pack_method method,
                                    struct pack_probe probe, uint64_t work_ns, uint64_t now_ns);

void pack_choice_sent(struct pack_choice *choice, const struct pack_outcome *outcome,
                      uint64_t now_ns);
