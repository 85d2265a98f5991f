/* Names of phases: see statistics.h. */
#include "engine/statistics.h"

const char *engine_phase_name(enum engine_phase phase)
{
    static const char *const names[] = {
        [ENGINE_PHASE_CONNECT] = "connect",       [ENGINE_PHASE_PRECOPY] = "pre-copy",
        [ENGINE_PHASE_SWITCHOVER] = "switchover", [ENGINE_PHASE_DONE] = "done",
        [ENGINE_PHASE_FAILED] = "failed",         [ENGINE_PHASE_CANCELLED] = "cancelled",
    };
    return names[phase];
}
