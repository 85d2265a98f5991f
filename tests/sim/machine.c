/* The simulated machine: see machine.h. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The destination writes through the file, too. */
static uint8_t *map_shadow(const struct sim_machine *machine)
{
    size_t size = machine->pages * ENGINE_PAGE_SIZE;
    void *shadow = MAP_FAILED;
    if (machine->shadow_fd >= 0 && ftruncate(machine->shadow_fd, (off_t)size) == 0) {
        shadow = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, machine->shadow_fd, 0);
    }
    if (shadow == MAP_FAILED) {
        perror("no memory for the shadow");
        exit(2);
    }
    return shadow;
}

#include "base/clock.h"

#define UNSEEN_SHARE 16u
#define STOP_STEPS 8u /* looks around while the guest is being stopped */

void sim_machine_init(struct sim_machine *machine, struct sim_world *world, uint64_t pages)
{
    *machine = (struct sim_machine){.world = world,
                                    .pages = pages,
                                    .write_interval_ns = SIM_NEVER,
                                    .next_write_ns = world->now_ns,
                                    .hot_pages = 1,
                                    .source_runs = true,
                                    .collects_stretches = true};
    machine->memory = calloc(pages, ENGINE_PAGE_SIZE);
    machine->shadow_fd = memfd_create("shadow", MFD_CLOEXEC);
    machine->shadow = map_shadow(machine);
    machine->stopped_memory = calloc(pages, ENGINE_PAGE_SIZE);
    page_set_init(&machine->populated, pages);
    page_set_init(&machine->dirty, pages);
    page_set_init(&machine->dropped, pages);
    page_set_init(&machine->paced, pages);
    page_set_init(&machine->saved_over, pages);
}

void sim_machine_done(struct sim_machine *machine)
{
    free(machine->memory);
    munmap(machine->shadow, machine->pages * ENGINE_PAGE_SIZE);
    close(machine->shadow_fd);
    free(machine->stopped_memory);
    page_set_done(&machine->populated);
    page_set_done(&machine->dirty);
    page_set_done(&machine->dropped);
    page_set_done(&machine->paced);
    page_set_done(&machine->saved_over);
}

static void mark_written(struct sim_machine *machine, uint64_t page)
{
    struct page_run run = {page, 1};
    page_set_add(&machine->populated, run);
    page_set_add(&machine->dirty, run);
    page_set_remove(&machine->dropped, run);
}

static void write_page(struct sim_machine *machine, uint64_t page)
{
    uint64_t value = random_next(&machine->world->random);
    uint64_t offset = random_between(&machine->world->random, 0, ENGINE_PAGE_SIZE / 8 - 1) * 8;
    memcpy(machine->memory + page * ENGINE_PAGE_SIZE + offset, &value, sizeof(value));
    mark_written(machine, page);
}

static void write_zeroes(struct sim_machine *machine, uint64_t page)
{
    memset(machine->memory + page * ENGINE_PAGE_SIZE, 0, ENGINE_PAGE_SIZE);
    mark_written(machine, page);
}

static void give_back(struct sim_machine *machine, uint64_t first)
{
    uint64_t most = machine->pages - first < 80 ? machine->pages - first : 80;
    struct page_run run = {first, random_between(&machine->world->random, 1, most)};
    memset(machine->memory + run.first * ENGINE_PAGE_SIZE, 0, run.count * ENGINE_PAGE_SIZE);
    page_set_remove(&machine->populated, run);
    page_set_remove(&machine->dirty, run);
    page_set_add(&machine->dropped, run);
}

static uint64_t choose_page(struct sim_machine *machine)
{
    struct random *random = &machine->world->random;
    if (machine->choose) {
        return machine->choose(machine);
    }
    return random_once_in(random, 8) ? random_between(random, 0, machine->pages - 1)
                                     : random_between(random, 0, machine->hot_pages - 1);
}

static void act(struct sim_machine *machine, uint64_t page)
{
    struct random *random = &machine->world->random;
    machine->writes++;
    if (machine->choose) {
        write_page(machine, page);
    } else if (machine->gives_back && random_once_in(random, 16)) {
        give_back(machine, page);
    } else if (random_once_in(random, 16)) {
        write_zeroes(machine, page);
    } else {
        write_page(machine, page);
    }
}

/* A protected page whose writers are paced: the write comes when it is due. */
static void wait_for_pace(struct sim_machine *machine, uint64_t page)
{
    if (!machine->paces || machine->let_go || !page_set_has(&machine->paced, page) ||
        page_set_has(&machine->dirty, page)) {
        return;
    }
    if (machine->pace_next_ns > machine->next_write_ns) {
        machine->waited_ns += machine->pace_next_ns - machine->next_write_ns;
        machine->next_write_ns = machine->pace_next_ns;
    }
    machine->pace_next_ns = machine->next_write_ns + machine->pace_ns;
    machine->let_go = true;
}

void sim_machine_populate(struct sim_machine *machine)
{
    struct random *random = &machine->world->random;
    uint64_t part = random_between(random, 0, 4);
    for (uint64_t page = 0; page < machine->pages; page++) {
        if (random_between(random, 0, 3) < part) {
            random_once_in(random, 5) ? write_zeroes(machine, page) : write_page(machine, page);
        }
    }
}

void sim_machine_live(void *context, uint64_t until_ns)
{
    struct sim_machine *machine = context;
    if (!machine->source_runs || machine->write_interval_ns == SIM_NEVER) {
        machine->next_write_ns = until_ns;
        return;
    }
    while (machine->next_write_ns <= until_ns) {
        uint64_t calm = machine->calm_every_ns;
        if (calm > 0 && machine->next_write_ns / calm % 2) {
            machine->next_write_ns += calm - machine->next_write_ns % calm;
            continue;
        }
        wait_for_pace(machine, machine->next_page);
        if (machine->next_write_ns > until_ns) {
            return;
        }
        act(machine, machine->next_page);
        machine->next_page = choose_page(machine);
        machine->let_go = false;
        machine->next_write_ns +=
            random_between(&machine->world->random, 1, 2 * machine->write_interval_ns);
    }
}

static void moment(struct sim_machine *machine, enum sim_moment moment)
{
    machine->moment(machine->scenario, moment);
}

static int fail_if(struct sim_machine *machine, enum sim_fault fault, const char *what,
                   struct error *err)
{
    return machine->fault == fault ? error_set(err, EIO, "%s failed", what) : 0;
}

static int start_tracking(void *guest, struct error *err)
{
    struct sim_machine *machine = guest;
    if (machine->tracking) {
        sim_world_fail(machine->world, "tracking was started twice");
    }
    if (fail_if(machine, SIM_FAULT_START_TRACKING, "start_tracking", err) < 0) {
        return -EIO;
    }
    sim_world_spend(machine->world, 20000);
    page_set_clear(&machine->dirty);
    page_set_clear(&machine->dropped);
    machine->tracking = true;
    return 0;
}

static int collect_populated(void *guest, struct page_set *pages, struct error *err)
{
    struct sim_machine *machine = guest;
    (void)err;
    page_set_unite(pages, &machine->populated);
    sim_world_spend(machine->world, 20000);
    return 0;
}

/* Skipped pages are left out, or not, as a tracker does for whom short runs are not worth it. */
static void report(struct sim_machine *machine, struct page_run within, const struct page_set *skip,
                   struct page_set *dirty)
{
    bool skips = skip && !random_once_in(&machine->world->random, 4);
    struct page_run run;
    for (uint64_t page = within.first, end = within.first + within.count;
         page_set_next_run_within(&machine->dirty, (struct page_run){page, end - page}, 1, &run);
         page = run.first + 1) {
        if (!skips || !page_set_has(skip, run.first)) {
            page_set_add(dirty, run);
            page_set_remove(&machine->dirty, run);
        }
    }
}

static void dirty_by_saving(struct sim_machine *machine)
{
    uint64_t page = choose_page(machine);
    act(machine, page);
    page_set_add(&machine->saved_over, (struct page_run){page, 1});
}

/* Saving the device state goes on beside the engine, and dirties memory when it likes. */
static void save_on(struct sim_machine *machine)
{
    while (machine->saves && machine->dirtied_by_saving > 0 &&
           random_once_in(&machine->world->random, 2)) {
        machine->dirtied_by_saving--;
        dirty_by_saving(machine);
    }
}

static int collect_dirty(void *guest, struct page_run within, const struct page_set *skip,
                         struct page_set *dirty, struct page_set *dropped, struct error *err)
{
    struct sim_machine *machine = guest;
    bool everything = within.count == machine->pages;
    if (random_once_in(&machine->world->random, 4) &&
        fail_if(machine, SIM_FAULT_COLLECT, "collect_dirty", err) < 0) {
        return -EIO;
    }
    if (everything || machine->collects_stretches) {
        report(machine, within, skip, dirty);
    }
    if (everything) {
        page_set_unite(dropped, &machine->dropped);
        page_set_clear(&machine->dropped);
    }
    sim_world_spend(machine->world, random_between(&machine->world->random, 1000, 100000));
    save_on(machine);
    return 0;
}

static int pace(void *guest, const struct page_set *where, uint64_t bytes_per_second,
                struct error *err)
{
    struct sim_machine *machine = guest;
    struct page_set changed;
    struct page_run run;
    if (!machine->can_pace) {
        return error_set(err, EOPNOTSUPP, "this guest's writers cannot be paced");
    }
    if (!machine->tracking || !machine->source_runs) {
        sim_world_fail(machine->world, "paced a guest that is not tracked, or does not run");
    }
    page_set_init(&changed, machine->pages);
    page_set_unite(&changed, where);
    page_set_subtract(&changed, &machine->paced);
    page_set_unite(&machine->paced, where);
    page_set_intersect(&changed, &machine->populated);
    page_set_subtract(&changed, &machine->dropped);
    for (uint64_t page = 0; page_set_next_run(&changed, page, 1, &run); page = run.first + 1) {
        if (random_once_in(&machine->world->random, UNSEEN_SHARE)) {
            page_set_add(&machine->dirty, run); /* nobody saw whether it was written */
        }
    }
    page_set_done(&changed);
    machine->paces = true;
    machine->pace_ns = ENGINE_PAGE_SIZE * NANOSECONDS_PER_SECOND / (bytes_per_second + 1);
    sim_world_spend(machine->world, 50000);
    return 0;
}

static uint64_t waited_ns(void *guest)
{
    return ((struct sim_machine *)guest)->waited_ns;
}

static void stop_tracking(void *guest)
{
    struct sim_machine *machine = guest;
    if (!machine->tracking) {
        sim_world_fail(machine->world, "tracking was stopped without a start");
    }
    machine->tracking = false;
    machine->paces = false;
}

/* Emits the state up to `end`, in uneven pieces. */
static int emit_until(struct sim_machine *machine, size_t end, engine_emit_function *emit,
                      void *context, struct error *err)
{
    while (machine->emitted < end) {
        size_t part = random_between(&machine->world->random, 1, end - machine->emitted);
        int result = emit(context, machine->state + machine->emitted, part, err);
        if (result < 0) {
            return result;
        }
        machine->emitted += part;
    }
    return 0;
}

static int stop(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct sim_machine *machine = guest;
    moment(machine, SIM_MOMENT_STOP);
    int result = emit_until(machine, machine->early_length, emit, context, err);
    for (unsigned i = 0; result == 0 && i < STOP_STEPS; i++) {
        sim_world_spend(machine->world, machine->stop_ns / STOP_STEPS);
        result = emit(context, NULL, 0, err);
    }
    if (result == 0) {
        result = fail_if(machine, SIM_FAULT_STOP, "stop", err);
    }
    if (result < 0) {
        return result;
    }
    machine->source_runs = false;
    memcpy(machine->stopped_memory, machine->memory, machine->pages * ENGINE_PAGE_SIZE);
    machine->saves = true;
    page_set_clear(&machine->saved_over);
    moment(machine, SIM_MOMENT_STOPPED);
    return 0;
}

static int finish_state(void *guest, engine_emit_function *emit, void *context, struct error *err)
{
    struct sim_machine *machine = guest;
    if (machine->source_runs) {
        sim_world_fail(machine->world, "the state was saved of a guest that runs");
    }
    sim_world_spend(machine->world, machine->save_ns);
    for (uint64_t i = 0; i < machine->dirtied_by_saving; i++) {
        dirty_by_saving(machine);
    }
    machine->saves = false;
    if (fail_if(machine, SIM_FAULT_FINISH_STATE, "finish_state", err) < 0 ||
        fail_if(machine, SIM_FAULT_RESUME, "finish_state", err) < 0) {
        return -EIO;
    }
    int result = emit_until(machine, machine->state_length, emit, context, err);
    moment(machine, SIM_MOMENT_SAVED);
    return result;
}

static int resume(void *guest, struct error *err)
{
    struct sim_machine *machine = guest;
    if (machine->committed || machine->destination_runs) {
        sim_world_fail(machine->world, "resumed at the source, but the destination owns it");
    }
    if (fail_if(machine, SIM_FAULT_RESUME, "resume", err) < 0) {
        return -EIO;
    }
    machine->source_runs = true;
    machine->saves = false;
    return 0;
}

/* Devices look into guest memory while they load (a virtio queue into its rings): all that the stop
 * left must be there by then, except for what saving the state changed. */
static void check_memory_before_state(struct sim_machine *machine)
{
    for (uint64_t page = 0; !machine->spoilt && page < machine->pages; page++) {
        size_t at = page * ENGINE_PAGE_SIZE;
        if (!page_set_has(&machine->saved_over, page) &&
            memcmp(machine->shadow + at, machine->stopped_memory + at, ENGINE_PAGE_SIZE) != 0 &&
            memcmp(machine->memory + at, machine->stopped_memory + at, ENGINE_PAGE_SIZE) == 0) {
            sim_world_fail(machine->world, "device state came before page %llu that it may need",
                           (unsigned long long)page);
            return;
        }
    }
}

static int load_state(void *guest, const void *bytes, size_t length, struct error *err)
{
    struct sim_machine *machine = guest;
    if (machine->loaded + length > machine->state_length ||
        memcmp(machine->state + machine->loaded, bytes, length) != 0) {
        return error_set(err, EIO, "what arrived is not the device state");
    }
    if (machine->loaded <= machine->early_length &&
        machine->loaded + length > machine->early_length) {
        check_memory_before_state(machine);
    }
    machine->loaded += length;
    return fail_if(machine, SIM_FAULT_LOAD, "load_state", err);
}

static int finish_load(void *guest, struct error *err)
{
    struct sim_machine *machine = guest;
    moment(machine, SIM_MOMENT_LOAD);
    sim_world_spend(machine->world, machine->load_ns);
    moment(machine, SIM_MOMENT_LOADED);
    if (machine->loaded != machine->state_length) {
        sim_world_fail(machine->world, "loaded %zu bytes of device state instead of %zu",
                       machine->loaded, machine->state_length);
    }
    machine->load_finished = true;
    return fail_if(machine, SIM_FAULT_FINISH_LOAD, "finish_load", err);
}

static int run_guest(void *guest, struct error *err)
{
    struct sim_machine *machine = guest;
    moment(machine, SIM_MOMENT_RUN);
    if (!machine->committed || machine->source_runs) {
        sim_world_fail(machine->world, "ran at the destination, but the source owns it");
    }
    if (!machine->load_finished) {
        sim_world_fail(machine->world, "ran before it was loaded");
    }
    sim_world_spend(machine->world, machine->run_ns);
    if (fail_if(machine, SIM_FAULT_RUN, "run", err) < 0) {
        return -EIO;
    }
    machine->destination_runs = true;
    return 0;
}

static enum engine_verdict commit(void *ownership, uint64_t ready_age_ns)
{
    struct sim_machine *machine = ownership;
    (void)ready_age_ns;
    moment(machine, SIM_MOMENT_COMMIT);
    sim_world_spend(machine->world, random_between(&machine->world->random, 0, machine->commit_ns));
    if (machine->withdrawn) {
        return ENGINE_OWNER_SOURCE;
    }
    machine->committed = true;
    moment(machine, SIM_MOMENT_COMMITTED);
    sim_world_spend(machine->world, random_between(&machine->world->random, 0, machine->commit_ns));
    return ENGINE_OWNER_DESTINATION;
}

static enum engine_verdict settle(void *ownership)
{
    struct sim_machine *machine = ownership;
    sim_world_spend(machine->world, random_between(&machine->world->random, 0, machine->commit_ns));
    machine->withdrawn = !machine->committed;
    return machine->committed ? ENGINE_OWNER_DESTINATION : ENGINE_OWNER_SOURCE;
}

struct engine_source_guest sim_machine_source(struct sim_machine *machine)
{
    static const struct engine_source_guest_operations operations = {
        .start_tracking = start_tracking,
        .collect_populated = collect_populated,
        .collect_dirty = collect_dirty,
        .pace = pace,
        .waited_ns = waited_ns,
        .stop_tracking = stop_tracking,
        .stop = stop,
        .finish_state = finish_state,
        .resume = resume,
    };
    return (struct engine_source_guest){.operations = &operations,
                                        .guest = machine,
                                        .memory_size = machine->pages * ENGINE_PAGE_SIZE,
                                        .memory = machine->memory,
                                        .memory_fd = -1};
}

struct engine_destination_guest sim_machine_destination(struct sim_machine *machine)
{
    static const struct engine_destination_guest_operations operations = {
        .load_state = load_state, .finish_load = finish_load, .run = run_guest};
    return (struct engine_destination_guest){.operations = &operations,
                                             .guest = machine,
                                             .memory_size = machine->pages * ENGINE_PAGE_SIZE,
                                             .memory = machine->shadow,
                                             .memory_fd = machine->shadow_fd};
}

struct engine_ownership sim_machine_ownership(struct sim_machine *machine)
{
    return (struct engine_ownership){.commit = commit, .settle = settle, .ownership = machine};
}
