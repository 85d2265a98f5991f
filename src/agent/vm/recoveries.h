/*
 * What the agent put right by itself: VMs and movers found again after a restart, moves brought to
 * their end, leftovers removed, VMs that were ended or started again because of their lease. Each
 * is logged, and the latest are shown by GET /v1/host. The mutex is a leaf.
 */
#pragma once

#include <jansson.h>

#define RECOVERIES_KEPT 100

enum recovery_kind {
    RECOVERY_ADOPTED,   /* a VM or a move was found again */
    RECOVERY_FINISHED,  /* a move that an earlier agent began has ended at the destination */
    RECOVERY_UNDONE,    /* such a move was undone */
    RECOVERY_CLEANED,   /* what was left of a VM or a move was removed */
    RECOVERY_RELEASED,  /* a lease that nothing here needs was given up */
    RECOVERY_ENDED,     /* a VM was ended because it may not run here any more */
    RECOVERY_RESTARTED, /* a VM that had to end runs again */
    RECOVERY_FAILED,    /* something could not be put right: the text says what to do */
};

struct recoveries;

struct recoveries *recoveries_new(void);
void recoveries_free(struct recoveries *recoveries);

/* Logs it and keeps it. `vm` is a VM's name, or empty. */
void recoveries_note(struct recoveries *recoveries, enum recovery_kind kind, const char *vm,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* [{"at", "kind", "vm", "text"}], oldest first. New reference. */
json_t *recoveries_to_json(struct recoveries *recoveries);
