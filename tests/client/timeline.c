/* See timeline.h. */
#include "timeline.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

int timeline_init(struct timeline *timeline)
{
    *timeline = (struct timeline){.start_ns = monotonic_now()};
    timeline->oldest = timeline->open = calloc(1, sizeof(*timeline->open));
    strcpy(timeline->total.name, "total");
    return timeline->open ? 0 : -ENOMEM;
}

void timeline_done(struct timeline *timeline)
{
    while (timeline->oldest) {
        struct interval *next = timeline->oldest->next;
        free(timeline->oldest);
        timeline->oldest = next;
    }
}

uint64_t timeline_now(const struct timeline *timeline)
{
    return monotonic_now() - timeline->start_ns;
}

static void set_name(struct interval *interval, const char *name)
{
    size_t length = 0;

    for (; name[length] && length < INTERVAL_NAME_BYTES - 1; length++) {
        unsigned char c = (unsigned char)name[length];
        interval->name[length] = isalnum(c) || strchr("-_.:> ", c) ? (char)c : '_';
    }
    interval->name[length] = '\0';
}

int timeline_mark(struct timeline *timeline, const char *name, uint64_t udp, uint64_t tcp)
{
    struct interval *ended = timeline->open;
    struct interval *next = calloc(1, sizeof(*next));

    if (!next)
        return -ENOMEM;
    set_name(ended, name);
    ended->end_ns = next->begin_ns = timeline_now(timeline);
    ended->end_udp = next->first_udp = udp;
    ended->end_tcp = next->first_tcp = tcp;
    ended->next = next;
    timeline->open = next;
    return 0;
}

struct interval *timeline_owner_of_udp(const struct timeline *timeline, uint64_t sequence)
{
    struct interval *interval = timeline->oldest;

    if (sequence < interval->first_udp)
        return NULL;
    while (interval != timeline->open && sequence >= interval->end_udp)
        interval = interval->next;
    return interval;
}

struct interval *timeline_owner_of_tcp(const struct timeline *timeline, uint64_t sequence)
{
    struct interval *interval = timeline->oldest;

    if (sequence < interval->first_tcp)
        return NULL;
    while (interval != timeline->open && sequence >= interval->end_tcp)
        interval = interval->next;
    return interval;
}

void timeline_report_settled(struct timeline *timeline, uint64_t now_ns, FILE *out)
{
    while (timeline->oldest != timeline->open && now_ns >= timeline->oldest->end_ns + SETTLE_NS) {
        struct interval *settled = timeline->oldest;
        interval_print(settled, "interval", out);
        interval_add(&timeline->total, settled);
        timeline->oldest = settled->next;
        free(settled);
    }
}

void timeline_finish(struct timeline *timeline)
{
    struct interval *open = timeline->open;

    open->end_ns = open->begin_ns;
    open->end_udp = open->first_udp;
    open->end_tcp = open->first_tcp;
    interval_add(&timeline->total, open);
}

bool timeline_is_settled(const struct timeline *timeline)
{
    return timeline->oldest == timeline->open;
}
