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
#include "agent/record.h"

enum move_owner {
    MOVE_OWNER_SOURCE,
    MOVE_OWNER_DESTINATION,
    MOVE_OWNER_ANOTHER, /* neither, any more: a third host, or nobody */
};

/* Commits or withdraws, by this host's role. A source that could not commit, and knows for certain
 * that it did not (no space left, no descriptors), stays the owner: `err` says why. -EAGAIN: the
 * datastore does not tell. */
int move_owner_decide(struct agent *agent, const struct vm *vm, const struct move_record *move,
                      enum move_owner *ret_owner, struct error *err);

/* The question of the source's mover whether to commit. */
struct move_question {
    uint64_t asked_at_ns; /* CLOCK_BOOTTIME */
    bool tried;           /* an earlier attempt to commit may have come, or may come yet */
};

/* The source's answer to it. Commits as above; but who comes to a question only when the
 * destination may be dead already, and has a guest that can go on, takes it back: `err` says so.
 * -EAGAIN as above. */
int move_owner_commit(struct agent *agent, const struct vm *vm, const struct move_record *move,
                      const struct move_question *question, enum move_owner *ret_owner,
                      struct error *err);

/* The source takes back what its mover left, by an epoch in its own name: a commit that an earlier
 * agent had sent to the datastore when it died may still be carried out there, and then comes too
 * late. To read the lease would not be enough. -EAGAIN as above. */
int move_owner_reclaim(struct agent *agent, const struct vm *vm, const struct move_record *move,
                       enum move_owner *ret_owner, struct error *err);

/* Brings vm->owner up to date if the datastore answers. */
void move_owner_refresh(struct agent *agent, struct vm *vm);
