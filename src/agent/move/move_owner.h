/*
 * Who owns a VM during and after a move: its lease alone decides, and this reads and changes it.
 *
 * The source commits by creating the next epoch in the destination's name. A destination in doubt
 * withdraws by creating it in the source's name. Whoever was first, decided. What came later (the
 * VM stopped, moved on, taken over by a third host) leaves neither side of this move anything to
 * run.
 */
#pragma once

#include "agent/agent.h"
#include "agent/vm/record.h"

enum move_owner {
    MOVE_OWNER_SOURCE,
    MOVE_OWNER_DESTINATION,
    MOVE_OWNER_ANOTHER, /* neither, any more: a third host, or nobody */
};

/* The source's answer to its mover's question. `tried`: an earlier attempt, this agent's or that of
 * one before it, may have committed, or may do so yet. A source that could not commit, and knows
 * for certain that nobody did or will (no space left, no descriptors, never tried), stays the
 * owner: `err` says why. -EAGAIN: the datastore does not tell. */
int move_owner_commit(struct agent *agent, const struct vm *vm, const struct move_record *move,
                      bool tried, enum move_owner *ret_owner, struct error *err);

/* The destination in doubt. -EAGAIN as above. */
int move_owner_withdraw(struct agent *agent, const struct vm *vm, const struct move_record *move,
                        enum move_owner *ret_owner, struct error *err);

/* How old the source's question is (asked at that CLOCK_BOOTTIME) when that is too old: the
 * destination may be dead by now, and the guest here can go on. 0: it is to be answered. */
uint64_t move_owner_lateness_ns(const struct vm *vm, uint64_t asked_at_ns);

/* The source's answer to a question that is too old: keeps the VM, unless it was committed before.
 * `err` says so, and why. Takes the datastore only where somebody `tried`: -EAGAIN as above. */
int move_owner_take_back(struct agent *agent, const struct vm *vm, const struct move_record *move,
                         bool tried, uint64_t late_ns, enum move_owner *ret_owner,
                         struct error *err);

/* The source takes back what its mover left, by an epoch in its own name: a commit that an earlier
 * agent had sent to the datastore when it died may still be carried out there, and then comes too
 * late. To read the lease would not be enough. -EAGAIN as above. */
int move_owner_reclaim(struct agent *agent, const struct vm *vm, const struct move_record *move,
                       enum move_owner *ret_owner, struct error *err);

/* Brings vm->owner up to date if the datastore answers. */
void move_owner_refresh(struct agent *agent, struct vm *vm);
