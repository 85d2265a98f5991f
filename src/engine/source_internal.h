/*
 * The source side of a move, shared by its files:
 *
 *   source.c             states, handshake, the end of a move in each of its ways
 *   source_peer.c        waiting for the destination, keeping it informed, being told to stop
 *   source_collect.c     what the guest wrote since the last time
 *   source_rounds.c      sending one round of pages
 *   source_pace.c        making writers wait
 *   source_precopy.c     round upon round, and the decision to switch over
 *   source_switchover.c  from the order to stop to the destination's READY
 *   source_progress.c    figures: rounds, fraction, estimates
 *
 * What of the guest's memory is where, at any moment:
 *
 *   pending    pages whose content the destination lacks; sent as they are when they are sent
 *   dropped    pages that became zeroes since; told if the destination has data there. Never also
 *              pending.
 *   told_zero  pages told as zeroes in this round. A round's frames may arrive in any order, so
 * data of such a page must wait for the next round: in `held` until then. delivered  pages for
 * which the destination has been sent data; everywhere else it has zeroes
 *
 * A page outside of pending, dropped, held and deferred, not written since the last
 * collect_dirty(), is equal on both sides (once the frames on their way have arrived). That holds
 * because a page is protected first and read afterwards: what is written in between is sent too
 * early and reported again.
 */
#pragma once

#include "engine/heat.h"
#include "engine/lanes.h"
#include "engine/rate.h"
#include "engine/source.h"
#include "engine/stream.h"

#define SOURCE_BATCH_PAGES 1024u /* at most so many pages (4 MiB) between two looks around */
#define SOURCE_KEEPALIVE_NS (1000 * NANOSECONDS_PER_MILLISECOND)
#define SOURCE_SILENCE_NS (30 * NANOSECONDS_PER_SECOND)
#define SOURCE_READY_LIMIT_NS (5 * NANOSECONDS_PER_SECOND) /* the guest stands still meanwhile */
#define SOURCE_RUNNING_LIMIT_NS (30 * NANOSECONDS_PER_SECOND)
#define SOURCE_SLICE_NS \
    (20 * NANOSECONDS_PER_MILLISECOND) /* of every wait: cancel is seen by then */

enum source_state {
    SOURCE_CONNECT,
    SOURCE_PRECOPY,   /* dirty tracking is on */
    SOURCE_STOPPING,  /* stop() begun: from here on an end means resume() */
    SOURCE_LAST_PASS, /* no vCPU runs */
    SOURCE_SAVING,    /* finish_state() begun */
    SOURCE_AWAIT_READY,
    SOURCE_COMMITTING,    /* whoever owns the VM is being decided */
    SOURCE_AWAIT_RUNNING, /* the destination owns it */
    SOURCE_DONE,
    SOURCE_ABORTED, /* the source owns it */
};

/* How writers are made to wait. */
enum pacing_state {
    PACING_OFF,
    PACING_ON,
    PACING_REFUSED, /* not this guest */
};

struct pacing {
    enum pacing_state state;
    struct page_set where;
    uint64_t bytes_per_second;
    uint64_t began_ns;
    uint64_t pages_left; /* after the last round */
};

struct source {
    const struct engine_source_options *options;
    const struct engine_source_guest *guest;
    const struct engine_clock *clock;
    const struct engine_ownership *ownership;
    const struct engine_observer *observer;
    struct stream stream;
    enum source_state state;

    struct page_set pending;
    struct page_set dropped;
    struct page_set delivered;
    struct page_set told_zero;
    struct page_set held;
    struct page_set deferred;
    struct page_set written;     /* since heat was last told */
    struct page_set new_dirty;   /* scratch of source_collect() */
    struct page_set new_dropped; /* likewise */

    struct lane_terms terms;
    struct lane_sender lane;          /* of channel 0 */
    const struct engine_lanes *lanes; /* the further connections; NULL: none */
    struct page_batch batch;          /* to be sent next */
    bool on_lanes;                    /* they carry a part of this round */
    struct lane_figures figures;      /* of the whole move */
    uint32_t rounds_ended;
    uint32_t rounds_acknowledged;

    struct rate rate;  /* of bytes on the wire */
    double wire_share; /* of the last larger round: bytes on the wire for one of content */
    struct heat heat;
    uint64_t heat_told_ns;
    unsigned collections; /* while pages are deferred */
    struct pacing pacing;
    bool time_is_up;           /* to be switched over, whatever the blackout */
    uint64_t collected_ns;     /* when the dirty set was last collected */
    uint64_t collect_took_ns;  /* how long that took */
    uint64_t dirty_per_second; /* bytes, between the last two collections of everything */
    uint64_t pages_written;    /* found by collecting stretches since then */
    uint64_t last_sent_ns;     /* for KEEPALIVE */
    uint64_t nothing_came_ns;  /* the last wait in vain began, or the state's end was said */

    uint64_t started_ns;   /* the handshake's end */
    uint64_t lap_began_ns; /* of the blackout's parts; at first, when the vCPUs stopped */
    uint64_t round_began_ns;
    uint64_t round_bytes_before;
    struct engine_round round; /* the one being sent */
    struct engine_progress progress;
    uint64_t progress_told_ns;
    double round_from; /* fraction at the round's beginning and end */
    double round_to;
    struct engine_statistics *statistics;
};

/* source.c */
void source_set_state(struct source *source, enum source_state state);
const char *source_state_name(enum source_state state);
uint64_t source_now(const struct source *source);
/* The blackout's time since the last lap. */
uint64_t source_lap(struct source *source);

/* source_peer.c */

/* Whether to go on: -ECANCELED when the operator gave up, -ETIMEDOUT when pre-copy took too long.
 */
int source_check(struct source *source, struct error *err);
/* Sends a frame. */
int source_send(struct source *source, enum wire_type type, const void *body, size_t length,
                struct error *err);
/* Takes what the destination says unasked: an ABORT becomes the error. */
int source_poll_peer(struct source *source, struct error *err);
/* Waits for a frame of that type; its body, of exactly `size` bytes, goes to `body`. limit_ns 0: as
 * long as the destination lives. */
int source_expect(struct source *source, enum wire_type type, void *body, size_t size,
                  uint64_t limit_ns, struct error *err);
/* Waits until the destination has acknowledged all rounds that were ended. */
int source_await_rounds(struct source *source, struct error *err);
/* Waits for a greeting, whose length varies with its version. */
int source_expect_greeting(struct source *source, uint8_t body[WIRE_GREETING_MOST],
                           uint32_t *ret_length, struct error *err);
/* Says something when nothing was said for long: the destination's own limit on silence must not
 * end a move that is only waiting, or sends over other connections. */
int source_keep_alive(struct source *source, struct error *err);
/* Lets time pass, awake to cancel and peer. */
int source_pause(struct source *source, uint64_t duration_ns, struct error *err);

/* source_collect.c */

/* Adds to pending and dropped what changed since the last time. */
int source_collect(struct source *source, struct error *err);
/* The same for a stretch that is about to be sent, at a cost that depends on its length alone: what
 * was written there earlier in this round need not be sent again. */
int source_collect_run(struct source *source, struct page_run within, struct error *err);

/* Pages that the last pass will have to send, if the guest is stopped now. */
uint64_t source_pages_left(const struct source *source);
/* No page is deferred any more. */
void source_undefer(struct source *source);

/* source_pace.c */

/* 1 when writers may be made to wait and that pays: rounds would send more than the memory that is
 * paced, or have already sent as much without progress (`bytes_wasted`). What would be paced is in
 * source->pacing.where. */
int source_pace_pays(struct source *source, uint64_t bytes_wasted, struct error *err);
/* Makes the writers wait that dirty most of the memory. What changed hands is collected. */
int source_pace_begin(struct source *source, struct error *err);
/* After a paced round: more or less of it. */
int source_pace_adjust(struct source *source, struct error *err);
/* Writers wait, and could be made to wait more. */
bool source_pace_helps(const struct source *source);
/* The guest stands still, or is about to run freely again: the figures are complete. */
void source_pace_note(struct source *source);

/* source_rounds.c */

/* Begins a round: the source_send_pages() that follow belong to it, up to source_end_round(). */
void source_begin_round(struct source *source);
/* Sends all that is pending and dropped. */
int source_send_pages(struct source *source, struct error *err);
/* Says that the round is complete. */
int source_end_round(struct source *source, struct error *err);

/* Over all connections: bytes given to the network, and of these those still on this side. */
uint64_t source_bytes_sent(const struct source *source);
uint64_t source_bytes_queued(const struct source *source);

/* source_precopy.c */
int source_precopy(struct source *source, struct error *err);

/* source_switchover.c */
int source_switch_over(struct source *source, struct error *err);
