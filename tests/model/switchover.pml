/*
 * The switchover and the lease, as a model that spin checks exhaustively: three hosts, one VM, one
 * move from SOURCE to DESTINATION, and operators who start or take over the VM anywhere.
 * docs/protocol/switchover.md says which step stands for which function, and what is left out.
 *
 * Every actor is a table of guarded steps over the variables below; a step is what it does between
 * two moments at which it can be killed, overtaken, or made to wait. How long anything takes is
 * open: whoever waits with a time limit may run out of it at any moment, so a lost, late or cancelled
 * message, a frozen process and a slow one need no step of their own. What is a fault takes one of
 * FAULTS from the budget; recovering is free. Thus every run ends, and at its end all must be well
 * (ending.pml); that there is never a second copy is asserted wherever one begins to run or the
 * lease changes hands (lease.pml).
 *
 * A model that cannot fail proves nothing: in each mutant one rule is broken, and is to be found out.
 */
/* The rules that can be broken. */
#define NONE 0
#define RUN_BEFORE_COMMIT 1           /* the source says RUN before it has asked the lease */
#define RESUME_WITHOUT_ASKING 2       /* the source runs out of patience while it commits */
#define RUN_WITHOUT_LEASE 3           /* the destination takes a lost channel for a commit */
#define GIVE_UP_WITHOUT_LEASE 4       /* ... or for the move's end */
#define RUN_HERE_WITHOUT_LEASE 5      /* its agent runs what a dead mover left */
#define TAKE_BACK_WITHOUT_LEASE 6     /* the source's agent does, whatever was handed over */
#define TAKE_BACK_BY_LOOKING 7        /* ... after a look at the lease, without taking an epoch */
#define SOURCE_UNLESS_DESTINATION 8   /* ... or although a third host owns the VM */
#define EPOCH_NOT_EXCLUSIVE 9         /* the last to write owner.N wins */
#define TAKE_OVER_BEFORE_STOP_AFTER 10/* silent is taken for dead */
#define LEASE_BEFORE_DEADLINE 11      /* a VM is launched by a lease that was taken before */
#define DEADLINE_NOT_ARMED 12         /* nothing ends QEMU when its host is cut off */
#define FOREIGN_COPY_ADOPTED 13       /* an agent that comes back does not ask whose the VM is */
#define MOVE_NOT_JOURNALED 14         /* ... or finds no word of the move */
#define RUN_AWAITED_FOR_EVER 15       /* the destination waits for RUN without a limit */
#define OLD_QUESTION_WITHOUT_LEASE 16 /* is taken back so, though a commit may be on its way */

/* Nor does one prove anything in which nothing happens: these say what must be found untrue. */
#define NEVER_MOVED 21
#define NEVER_STAYED 22
#define NEVER_TAKEN_OVER 23
#define NEVER_NONE_LEFT 24

#define SOURCE 0
#define DESTINATION 1
#define OTHER 2
#define HOSTS 3
#define NOBODY 3

#define FIRST_EPOCH 1 /* in which the move begins: the journals' */

/* ---- what there is ---- */

/* A host's QEMU process of this VM. `halted`: all of the guest is there, and its vCPUs stand still. */
mtype:copy = { absent, filling, halted, running };
mtype:copy copy[HOSTS] = absent;

/* A mover; `gone` before it starts and after its death. The second row is the source's, the third the
 * destination's; the last waits for its agent to take the result. */
mtype:mover = { gone,
                sending, saving, awaiting_ready, committing,
                receiving, awaiting_run, settling,
                moved, stayed, stranded };
mtype:mover mover[2] = gone;

/* What an agent does with the VM: one thing at a time, for a claim in its inventory is exclusive. */
mtype:task = { down, idle,
               launching, owning, owning_first, disowning,
               reserving, following, taking_back, running_here,
               ending_moved, ending_stayed, ending_abandoned };
mtype:task task[HOSTS] = idle;

/* What an agent has answered its mover. */
mtype:verdict = { none, to_source, to_destination };
mtype:verdict answer[2] = none;

/* What was said. A message comes at any later moment, any number of times, or never: whoever waits for
 * it finds it here, or runs out of patience. It is forgotten when nobody is left whom it could reach. */
bool said_offer, said_place, said_state, said_ready, said_run;

bool journal[2];      /* the record of the move */
bool tried;           /* ... says that the source may have committed */
bool watched[HOSTS];  /* the agent believes that its copy runs */
bool failed[HOSTS];   /* the agent shows the VM as failed, with what to do */
byte seen[HOSTS];     /* the epoch after which an agent wants the VM */

bool up[HOSTS] = true;
bool returns[HOSTS] = true; /* whether a host that is down comes up again */
bool store[HOSTS] = true;   /* whether it reaches the datastore, and its drover-guard renews there */
bool expired[HOSTS];        /* its deadline has passed */

byte mutant; /* which rule is broken */
byte faults; /* crashes and outages that may still befall in this run */
byte starts; /* times that somebody may still start the VM, or take it over */
bool moves;  /* whether the VM is moved, too */

/* Chosen when the verifier runs, so that one is compiled for all; when it is compiled, for a trace. */
#ifdef MUTANT
inline choose()
{
    mutant = MUTANT;
    faults = FAULTS;
    starts = STARTS;
    moves = MOVES
}
#else
c_decl {
\#include <stdlib.h>
}
inline choose()
{
    c_code {
        now.mutant = (unsigned char)atoi(getenv("MUTANT"));
        now.faults = (unsigned char)atoi(getenv("FAULTS"));
        now.starts = (unsigned char)atoi(getenv("STARTS"));
        now.moves = (unsigned char)atoi(getenv("MOVES"));
    }
}
#endif

bool lost; /* a fault has ended the copy that mattered: none may be left */

/* A mover's end, whoever brought it about: nothing reaches it any more. */
inline end_mover(side)
{
    mover[side] = gone;
    answer[side] = none;
    if
    :: side == SOURCE -> said_ready = false
    :: else ->
        said_state = false;
        said_run = false
    fi
}

#include "lease.pml"
#include "movers.pml"
#include "agents.pml"
#include "faults.pml"
#include "ending.pml"

init
{
    atomic {
        choose();
        copy[SOURCE] = running;
        if
        :: moves -> /* record_and_reserve() has written its record */
            task[SOURCE] = reserving;
            journal[SOURCE] = (mutant != MOVE_NOT_JOURNALED);
            said_offer = true
        :: else -> watched[SOURCE] = true
        fi;
        run source_mover();
        run destination_mover();
        run source_agent();
        run destination_agent();
        run agent(SOURCE);
        run agent(DESTINATION);
        run agent(OTHER);
        run misfortune(SOURCE);
        run misfortune(DESTINATION);
        run misfortune(OTHER);
        run judge()
    }
}
