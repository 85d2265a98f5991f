/* One seed: a machine, a link, a misfortune or none, the move, and the invariants afterwards. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What became of a seed. */
enum sim_result { SIM_MOVED, SIM_STAYED, SIM_BROKEN };

/* Runs it; with `trace`, tells its course on standard output. A broken invariant is described in
 * `failure`. */
enum sim_result sim_scenario_run(uint64_t seed, bool trace, char *failure, size_t size);
