/* The choice of a packing method: see pack_choice.h. */
#include "engine/pack_choice.h"

#include "base/clock.h"

#define MARGIN_TO_ENTER 1.15
#define MARGIN_TO_STAY 1.02
#define KEPT 0.75           /* of a method's figures, with each chunk */
#define FAILURES_COUNTED 2u /* doublings of the patience at most */
#define PROVEN_CHUNKS 16u   /* after so many in use its failures are forgotten */
#define BUSY_PACKING 0.8    /* of the lane's time: then the link is not what limits */
#define DELTA_SPEED 1.0e9   /* bytes a second: what differences reach until it is measured */

#define SHRINKS 0.9      /* at most so much is left */
#define LINK_SLOWER 0.75 /* of what it was: what failed then is tried again */

/* A window is over when so much has left the socket, or so much time has passed. */
#define WINDOW_BYTES (4.0 * 1024 * 1024)
#define WINDOW_NS (40.0 * NANOSECONDS_PER_MILLISECOND)

/* What was packed before a stretch, in both sockets, is gone by one or the other. */
#define DRAIN_BYTES (8.0 * 1024 * 1024)
#define DRAIN_NS (100.0 * NANOSECONDS_PER_MILLISECOND)

#define STRETCH_DISTANCE_LEAST (32.0 * 1024 * 1024) /* after a loss */
#define STRETCH_DISTANCE_FIRST (256.0 * 1024 * 1024)
#define STRETCH_DISTANCE_MOST (8192.0 * 1024 * 1024)
#define PATIENCE_AFTER_LOSS_NS NANOSECONDS_PER_SECOND
#define LOSSES_COUNTED 4u /* doublings of it at most */

void pack_choice_init(struct pack_choice *choice)
{
    *choice = (struct pack_choice){.idle = 1, .stretch_distance = STRETCH_DISTANCE_FIRST};
}

void pack_choice_set_idle(struct pack_choice *choice, double idle)
{
    choice->idle = idle;
}

void pack_choice_resume(struct pack_choice *choice, uint64_t queued)
{
    choice->window = (struct pack_window){0};
    choice->queued = (double)queued;
}

static double per_second(double bytes, double time_ns)
{
    return bytes * (double)NANOSECONDS_PER_SECOND / (time_ns > 1 ? time_ns : 1);
}

/* Content a second that a method of these figures carries. */
static double figures_rate(const struct pack_choice *choice, const struct pack_figures *figures)
{
    double speed = per_second(figures->content, figures->time_ns) * choice->idle;
    double arrives = choice->link * figures->content / (figures->packed > 1 ? figures->packed : 1);
    return speed < arrives ? speed : arrives;
}

static double method_rate(const struct pack_choice *choice, enum pack_method method)
{
    return method == PACK_NONE ? choice->link : figures_rate(choice, &choice->figures[method]);
}

/* What failed took so long: not again for a good while. */
static void trial_failed(struct pack_choice *choice, enum pack_method method, uint64_t cost_ns,
                         uint64_t now_ns)
{
    struct pack_trial *trial = &choice->trials[method];
    trial->link = choice->link;
    trial->due_ns = now_ns + ((cost_ns * PACK_CHOICE_PATIENCE) << trial->failures);
    trial->failures += trial->failures < FAILURES_COUNTED;
    trial->chunks = 0;
}

static bool trial_is_due(const struct pack_choice *choice, enum pack_method method, uint64_t now_ns)
{
    const struct pack_trial *trial = &choice->trials[method];
    return method != choice->method &&
           (now_ns >= trial->due_ns || choice->link < trial->link * LINK_SLOWER);
}

/* Nothing is tried before the link is known, nor while a stretch is measured. */
static bool may_pack(const struct pack_choice *choice)
{
    return choice->link > 0 && !choice->stretch && choice->idle > 0;
}

bool pack_choice_wants(const struct pack_choice *choice, uint64_t now_ns)
{
    return may_pack(choice) &&
           (choice->method != PACK_NONE || choice->delta ||
            trial_is_due(choice, PACK_LZ4, now_ns) || trial_is_due(choice, PACK_ZSTD, now_ns));
}

bool pack_choice_wants_bases(const struct pack_choice *choice)
{
    const struct pack_figures *figures = &choice->figures[PACK_DELTA];
    double speed =
        figures->content > 0 ? per_second(figures->content, figures->time_ns) : DELTA_SPEED;
    return may_pack(choice) && choice->link * MARGIN_TO_ENTER < speed * choice->idle;
}

static double ratio(const struct pack_figures *figures)
{
    return figures->content > 0 ? figures->packed / figures->content : 1;
}

/* Where lz4 and zstd both shrink the data, one chunk takes this and the next one that, as the
 * socket's buffer says. While it has enough for the link until zstd is done, nobody waits for that;
 * when it runs empty, lz4 has something to send sooner. */
static enum pack_method for_the_buffer(const struct pack_choice *choice)
{
    const struct pack_figures *fast = &choice->figures[PACK_LZ4];
    const struct pack_figures *small = &choice->figures[PACK_ZSTD];
    if (choice->method == PACK_NONE || ratio(fast) > SHRINKS || ratio(small) >= ratio(fast) ||
        figures_rate(choice, small) < choice->link * MARGIN_TO_STAY) {
        return choice->method;
    }
    double takes_s =
        (double)PACK_CHUNK_BYTES / (per_second(small->content, small->time_ns) * choice->idle);
    return choice->queued > choice->link * takes_s ? PACK_ZSTD : PACK_LZ4;
}

struct pack_order pack_choice_next(const struct pack_choice *choice, bool has_base, uint64_t now_ns)
{
    if (!may_pack(choice)) {
        return (struct pack_order){.method = PACK_NONE};
    }
    if (has_base && choice->delta) {
        return (struct pack_order){.method = PACK_DELTA};
    }
    if (has_base && trial_is_due(choice, PACK_DELTA, now_ns)) {
        return (struct pack_order){.method = PACK_DELTA, .probe = true};
    }
    for (enum pack_method method = PACK_LZ4; method <= PACK_ZSTD; method++) {
        if (trial_is_due(choice, method, now_ns)) {
            return (struct pack_order){.method = method, .probe = true};
        }
    }
    return (struct pack_order){.method = for_the_buffer(choice)};
}

static void bring_into_use(struct pack_choice *choice, enum pack_method method)
{
    choice->trials[method].chunks = 0;
    if (method == PACK_DELTA) {
        choice->delta = true;
    } else {
        choice->method = method;
    }
}

static void give_up(struct pack_choice *choice, enum pack_method method, uint64_t cost_ns,
                    uint64_t now_ns)
{
    trial_failed(choice, method, cost_ns, now_ns);
    if (method == PACK_DELTA) {
        choice->delta = false;
    } else {
        choice->method = PACK_NONE;
    }
}

enum pack_method pack_choice_probed(struct pack_choice *choice, enum pack_method method,
                                    struct pack_probe probe, uint64_t work_ns, uint64_t now_ns)
{
    struct pack_figures figures = {.content = (double)probe.content,
                                   .packed = (double)probe.packed,
                                   .time_ns = (double)work_ns};
    bool pays =
        figures_rate(choice, &figures) > method_rate(choice, choice->method) * MARGIN_TO_ENTER;
    if (pays || method != PACK_DELTA) { /* whose speed says whether bases are kept at all */
        choice->figures[method] = figures;
    }
    if (pays) {
        bring_into_use(choice, method);
        return method;
    }
    trial_failed(choice, method, work_ns, now_ns);
    return choice->method;
}

/* A chunk's figures; a method that no longer carries more than going without it is given up. */
static void judge_method(struct pack_choice *choice, const struct pack_outcome *outcome,
                         uint64_t now_ns)
{
    enum pack_method method = outcome->method;
    struct pack_figures *figures = &choice->figures[method];
    struct pack_trial *trial = &choice->trials[method];
    figures->content = figures->content * KEPT + (double)outcome->content;
    figures->packed = figures->packed * KEPT + (double)outcome->sent;
    figures->time_ns = figures->time_ns * KEPT + (double)outcome->work_ns;
    if (method != PACK_DELTA && method != choice->method) {
        return; /* the one in use is judged by its own chunks */
    }
    if (++trial->chunks >= PROVEN_CHUNKS) {
        trial->failures = 0;
    }
    double without = method_rate(choice, method == PACK_DELTA ? choice->method : PACK_NONE);
    if (figures_rate(choice, figures) < without * MARGIN_TO_STAY) {
        give_up(choice, method, outcome->work_ns / 4, now_ns);
    }
}

static void set_stretch(struct pack_choice *choice, bool stretch)
{
    choice->stretch = stretch;
    choice->draining = stretch;
    choice->since_stretch = 0;
    choice->window = (struct pack_window){0};
}

/* Packing lost to a stretch: none of it for a while, then a closer look. */
static void stop_packing(struct pack_choice *choice, uint64_t now_ns)
{
    uint64_t due_ns = now_ns + (PATIENCE_AFTER_LOSS_NS << choice->losses);
    choice->losses += choice->losses < LOSSES_COUNTED;
    choice->method = PACK_NONE;
    choice->delta = false;
    for (enum pack_method method = PACK_LZ4; method <= PACK_DELTA; method++) {
        choice->trials[method].due_ns = due_ns;
        choice->trials[method].link =
            0; /* a slower link is no reason: packing was judged wrongly */
    }
    choice->stretch_distance = STRETCH_DISTANCE_LEAST;
}

/* Plain content went at `plain` bytes a second: was packing worth it? */
static void end_stretch(struct pack_choice *choice, double plain, uint64_t now_ns)
{
    choice->link = plain;
    if (choice->content_rate < plain * MARGIN_TO_STAY) {
        stop_packing(choice, now_ns);
    } else {
        choice->losses = 0;
        choice->stretch_distance *= 2;
    }
    if (choice->stretch_distance > STRETCH_DISTANCE_MOST) {
        choice->stretch_distance = STRETCH_DISTANCE_MOST;
    }
    set_stretch(choice, false);
}

static void close_window(struct pack_choice *choice, uint64_t now_ns)
{
    const struct pack_window window = choice->window;
    double rate = per_second(window.left > 0 ? window.left : 0, window.time_ns);
    choice->window = (struct pack_window){0};
    if (choice->draining) {
        choice->draining = false;
        return;
    }
    if (choice->stretch) {
        end_stretch(choice, rate, now_ns);
        return;
    }
    choice->content_rate = rate * window.content / (window.sent > 1 ? window.sent : 1);
    if (window.packing_ns < window.time_ns * BUSY_PACKING || rate > choice->link) {
        choice->link = choice->link > 0 ? (choice->link + rate) / 2 : rate;
    }
}

static void measure(struct pack_choice *choice, const struct pack_outcome *outcome, uint64_t now_ns)
{
    struct pack_window *window = &choice->window;
    window->content += (double)outcome->content;
    window->sent += (double)outcome->sent;
    window->left += (double)outcome->sent + choice->queued - (double)outcome->queued;
    window->time_ns += (double)outcome->elapsed_ns;
    window->packing_ns += (double)outcome->pack_ns;
    choice->queued = (double)outcome->queued;
    if (window->left >= (choice->draining ? DRAIN_BYTES : WINDOW_BYTES) ||
        window->time_ns >= (choice->draining ? DRAIN_NS : WINDOW_NS)) {
        close_window(choice, now_ns);
    }
}

void pack_choice_sent(struct pack_choice *choice, const struct pack_outcome *outcome,
                      uint64_t now_ns)
{
    if (outcome->method != PACK_NONE && !choice->stretch) {
        judge_method(choice, outcome, now_ns);
        choice->since_stretch += (double)outcome->content;
    }
    measure(choice, outcome, now_ns);
    if (!choice->stretch && choice->since_stretch >= choice->stretch_distance &&
        choice->content_rate > 0 && (choice->method != PACK_NONE || choice->delta)) {
        set_stretch(choice, true);
    }
}
