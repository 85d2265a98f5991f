/*
 * How much of this host's processors a move's lanes may use for packing: what is idle, and what the
 * move itself uses, which is its own to spend. So guests and others come first. Sampled now and
 * then from /proc/stat and this process's clock; no lock: for whoever has one. Half a processor is
 * a move's own even on a host that is busy: on a slow link that makes it several times as fast.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PROCESSOR_IDLE_INTERVAL_NS 100000000u /* the least between two samples */

/* Running totals at one moment. */
struct processor_times {
    uint64_t now_ns;
    uint64_t idle_ns; /* of all processors together */
    uint64_t own_ns;  /* used by this process */
};

struct processor_idle {
    int fd; /* /proc/stat, borrowed; -1: not known */
    struct processor_times last;
    double processors; /* idle or ours, between the last two samples */
};

/* Without a descriptor (-1), and until the first interval has passed, nobody is held back. */
void processor_idle_init(struct processor_idle *idle, int fd);

/* Of one processor's time, what each of `lanes` may use: 0 to 1. Cheap when asked often. */
double processor_idle_share(struct processor_idle *idle, uint64_t now_ns, unsigned lanes);

/* The same of a sample that was taken. */
void processor_idle_note(struct processor_idle *idle, const struct processor_times *times);

/* Finds the idle time of all processors, in ticks, in /proc/stat's text: 0 or -EPROTO. */
int processor_idle_parse(const char *text, uint64_t *ret_ticks);
