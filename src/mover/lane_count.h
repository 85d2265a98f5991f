/*
 * How many connections of a move pay: begins with few, adds one, keeps it when more bytes went out
 * in the same time, and else goes back. A pure state machine; time and bytes are given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct lane_count {
    unsigned active; /* may carry something now */
    unsigned most;
    bool settled; /* one more did not pay */
    uint64_t window_began_ns;
    uint64_t window_bytes;   /* the running total at its beginning */
    uint64_t best_rate;      /* bytes a second with one lane fewer; 0: not measured yet */
    unsigned windows_passed; /* with this many lanes */
};

/* `least` are in use from the start, `most` at the end. */
void lane_count_init(struct lane_count *count, unsigned least, unsigned most);

/* Nothing was sent meanwhile: the time until now does not count. */
void lane_count_resume(struct lane_count *count, uint64_t now_ns, uint64_t bytes);

/* `bytes` is a running total of what was sent. Returns how many lanes may carry something now. */
unsigned lane_count_sample(struct lane_count *count, uint64_t now_ns, uint64_t bytes);
