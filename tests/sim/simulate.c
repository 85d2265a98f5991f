/*
 * The engine in its simulator: one move a seed.
 *
 *     simulate --seeds FROM-TO     prints how many seeds held; stops at the first that did not
 *     simulate --trace SEED        tells the course of one
 */
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scenario.h"

static volatile uint64_t current_seed; /* for the last words of a failed assertion */

static void on_abort(int signal)
{
    char text[64];
    (void)signal;
    int length = snprintf(text, sizeof(text), "seed %" PRIu64 " aborted\n", current_seed);
    if (write(STDERR_FILENO, text, (size_t)length) < 0) {
        _exit(3);
    }
    _exit(2);
}

static int usage(void)
{
    fprintf(stderr, "usage: simulate --seeds FROM-TO | --trace SEED\n");
    return 2;
}

static int run_one(uint64_t seed)
{
    char failure[600];
    current_seed = seed;
    enum sim_result result = sim_scenario_run(seed, true, failure, sizeof(failure));
    printf("seed %" PRIu64 ": %s\n", seed,
           result == SIM_MOVED    ? "moved"
           : result == SIM_STAYED ? "stayed"
                                  : failure);
    return result == SIM_BROKEN;
}

static int run_many(uint64_t from, uint64_t to)
{
    uint64_t counts[3] = {0};
    char failure[600];
    for (uint64_t seed = from; seed <= to; seed++) {
        current_seed = seed;
        enum sim_result result = sim_scenario_run(seed, false, failure, sizeof(failure));
        counts[result]++;
        if (result == SIM_BROKEN) {
            printf("seed %" PRIu64 " broke: %s\nreplay: simulate --trace %" PRIu64 "\n", seed,
                   failure, seed);
            return 1;
        }
    }
    printf("%" PRIu64 " seeds passed: %" PRIu64 " moved, %" PRIu64 " stayed\n", to - from + 1,
           counts[SIM_MOVED], counts[SIM_STAYED]);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t from, to;
    signal(SIGABRT, on_abort);
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* each seed's memory is the last one's: no system calls */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (argc == 3 && strcmp(argv[1], "--trace") == 0) {
        return run_one(strtoull(argv[2], NULL, 10));
    }
    if (argc != 3 || strcmp(argv[1], "--seeds") != 0 ||
        sscanf(argv[2], "%" SCNu64 "-%" SCNu64, &from, &to) != 2 || to < from) {
        return usage();
    }
    return run_many(from, to);
}
