/* What keeps the guard going while the host is in trouble: memory that is not swapped out, a turn
 * on the CPU before all that is not real-time, and no place on the list of the OOM killer. */
#pragma once

#include "base/error.h"

/* Takes them all for this process and its threads to come. What is not permitted is logged, and
 * done without. */
void protection_take(void);

/* Makes sure that no other guard uses the run folder, whose part for guards is made; holds until
 * this process ends. -EBUSY. */
int protection_lock(const char *run_folder, struct error *err);
