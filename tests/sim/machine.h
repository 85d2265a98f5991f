/*
 * The simulated machine: the guest at the source with its memory, its writer and its tracker, the
 * shadow VM at the destination, and the ownership of both. Watches over the one rule: never two
 * that run.
 */
#pragma once

#include "engine/destination.h"
#include "engine/source.h"
#include "world.h"

/* What can go wrong in the machine's own doing. */
enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_START_TRACKING,
    SIM_FAULT_COLLECT,
    SIM_FAULT_STOP,
    SIM_FAULT_FINISH_STATE,
    SIM_FAULT_RESUME, /* finish_state() fails first, so that it is tried */
    SIM_FAULT_LOAD,
    SIM_FAULT_FINISH_LOAD,
    SIM_FAULT_RUN,
    SIM_FAULTS
};

/* Moments at which a scenario may strike. */
enum sim_moment {
    SIM_MOMENT_STOP,
    SIM_MOMENT_STOPPED,
    SIM_MOMENT_SAVED,
    SIM_MOMENT_LOAD,
    SIM_MOMENT_LOADED,
    SIM_MOMENT_COMMIT,
    SIM_MOMENT_COMMITTED,
    SIM_MOMENT_RUN,
    SIM_MOMENTS
};

#define SIM_STATE_MOST 20000u

struct sim_machine {
    struct sim_world *world;
    uint64_t pages;
    uint8_t *memory; /* the source's; a hole is zeroes */
    uint8_t *shadow; /* the destination's */
    int shadow_fd;
    uint8_t *stopped_memory; /* the source's when it had stopped */
    bool saves;              /* its state, since then and until finish_state() is done */
    bool spoilt;             /* bytes change on the way: the copies need not be equal */
    struct page_set populated;
    struct page_set dirty;   /* written since the last collection */
    struct page_set dropped; /* given back since, and not written again */

    /* The writer. */
    uint64_t write_interval_ns; /* between two writes, while busy; SIM_NEVER: an idle guest */
    uint64_t next_write_ns;
    uint64_t hot_pages;
    uint64_t calm_every_ns; /* busy for so long, then calm for as long; 0: always busy */
    bool gives_back;        /* a balloon is at work */
    uint64_t (*choose)(struct sim_machine *machine); /* the page to write; NULL: mostly hot ones */
    uint64_t position;                               /* choose()'s own */
    uint64_t next_page;                              /* to be written next */
    bool let_go;                                     /* that write has waited for its turn */
    uint64_t writes;                                 /* so far */

    /* Pacing. */
    bool can_pace;
    bool paces;
    struct page_set paced;
    struct page_set saved_over; /* pages that saving the state has changed */
    uint64_t pace_ns;           /* from one page's first write to the next one's */
    uint64_t pace_next_ns;      /* when the next one may be */
    uint64_t waited_ns;
    bool collects_stretches; /* false: a stretch has nothing new, until all is collected */

    /* Device state. */
    uint8_t state[SIM_STATE_MOST];
    size_t state_length, early_length, emitted, loaded;
    uint64_t stop_ns, save_ns, load_ns, run_ns, commit_ns; /* how long things take */
    uint64_t dirtied_by_saving;                            /* pages */

    enum sim_fault fault;
    void (*moment)(void *scenario, enum sim_moment moment);
    void *scenario;

    bool source_runs, destination_runs, tracking;
    bool load_finished;
    bool committed, withdrawn; /* ownership's one decision */
};

void sim_machine_init(struct sim_machine *machine, struct sim_world *world, uint64_t pages);
void sim_machine_done(struct sim_machine *machine);

/* Fills some of the memory, as an installed guest would have. */
void sim_machine_populate(struct sim_machine *machine);
/* The guest lives until then: struct sim_world's live(). */
void sim_machine_live(void *machine, uint64_t until_ns);

struct engine_source_guest sim_machine_source(struct sim_machine *machine);
struct engine_destination_guest sim_machine_destination(struct sim_machine *machine);
struct engine_ownership sim_machine_ownership(struct sim_machine *machine);
