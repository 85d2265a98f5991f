/* What a move is doing, and what it did: the figures behind the progress line and the report. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum engine_phase {
    ENGINE_PHASE_CONNECT,    /* handshake */
    ENGINE_PHASE_PRECOPY,    /* rounds; the guest runs at the source */
    ENGINE_PHASE_SWITCHOVER, /* from the order to stop to the answer that it runs over there */
    ENGINE_PHASE_DONE,       /* runs at the destination */
    ENGINE_PHASE_FAILED,     /* runs at the source, or was given up at the destination */
    ENGINE_PHASE_CANCELLED,
};

/* "connect", "pre-copy", "switchover", "done", "failed", "cancelled". */
const char *engine_phase_name(enum engine_phase phase);

struct engine_round {
    uint32_t number;        /* from 1; the last one is sent with the guest stopped */
    uint64_t pages_to_send; /* at its beginning */
    uint64_t pages_sent;    /* as data */
    uint64_t pages_zero;    /* found to be zero: told, or left out where the other side has zeroes
                               already */
    uint64_t bytes_sent;    /* on the wire, headers included; without the device state */
    uint64_t duration_ns;
    uint64_t pages_dirtied; /* meanwhile: the next round's beginning */
};

#define ENGINE_ROUNDS_KEPT 64 /* the last entry stands for all later ones, summed */

struct engine_progress {
    enum engine_phase phase;
    double fraction;          /* 0 to 1, never decreasing */
    uint32_t round;           /* 0 before the first */
    uint64_t bytes_sent;      /* so far, on the wire */
    uint64_t bytes_remaining; /* of this round */
    uint64_t rate;            /* bytes a second, recent */
    uint64_t dirty_rate;      /* bytes a second, recent; 0 while unknown */
    uint64_t elapsed_ns;
    uint64_t remaining_ns;          /* estimate; UINT64_MAX: cannot tell */
    uint64_t predicted_blackout_ns; /* if it switched over now; UINT64_MAX: cannot tell */
    bool paced;                     /* writers are made to wait */
};

/* Where the blackout's time went; all on the source's clock. Sum of the parts is blackout_ns. Of a
 * move that was undone the last part that it came to is followed by run_ns: until it ran here
 * again. */
struct engine_blackout {
    uint64_t last_pass_ns;  /* last dirty pages collected and handed to the channel */
    uint64_t save_state_ns; /* what saving it and releasing the disks took longer than that, and
                               sending it */
    uint64_t load_state_ns; /* until the destination said that it is ready */
    uint64_t commit_ns;     /* ownership handed over */
    uint64_t run_ns;        /* until the destination's word arrived that it runs */
};

struct engine_statistics {
    struct engine_round rounds[ENGINE_ROUNDS_KEPT];
    uint32_t round_count; /* all, also those beyond ENGINE_ROUNDS_KEPT */
    uint64_t bytes_sent;  /* on the wire, all kinds */
    uint64_t device_state_bytes;
    uint32_t channels;          /* connections that carried pages, the first included */
    uint64_t content_bytes;     /* of pages sent, before any compression */
    uint64_t pages_lz4;         /* of these so many pages went compressed, by method */
    uint64_t pages_zstd;        /* likewise */
    uint64_t pages_delta;       /* as the difference from what was sent before */
    uint64_t pages_deferred;    /* written all the time, so sent in the last round only */
    uint64_t paced_ns;          /* for so long writers could be made to wait */
    uint64_t writers_waited_ns; /* and so long they did, all vCPUs together */
    uint64_t total_ns;          /* from the handshake's end to done */
    uint64_t blackout_ns; /* vCPUs stopped to the word that they run over there; 0: never stopped */
    uint64_t predicted_blackout_ns; /* when it decided to switch over */
    struct engine_blackout blackout;
};
