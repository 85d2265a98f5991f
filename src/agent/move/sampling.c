/* A mover that samples: see sampling.h. */
#include "agent/move/sampling.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/agent.h"
#include "agent/vm/descriptors.h"
#include "agent/vm/launch.h"
#include "agent/vm/record.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/socket.h"
#include "engine/tracker.h"
#include "mover/line.h"
#include "mover/sample.h"

#define POLL_NS (20 * NANOSECONDS_PER_MILLISECOND)
#define PATIENCE_NS \
    (5 * NANOSECONDS_PER_SECOND) /* beyond its duration; then it is taken for hung */
#define HURRY_NS (500 * NANOSECONDS_PER_MILLISECOND)

struct sampling {
    struct sampling *next; /* in the list */
    struct sampling_list *list;
    char uuid[UUID_TEXT_SIZE];
    bool unwanted; /* guarded by the list: somebody else needs the VM */

    struct mover_setup setup; /* its descriptors are open */
    struct process_identity mover;
    int connection;
    uint64_t deadline_ns;
};

struct sampling_list {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* one has ended */
    struct sampling *first;
};

/* ---- the list ---- */

struct sampling_list *sampling_list_new(void)
{
    struct sampling_list *list = calloc(1, sizeof(*list));
    if (list) {
        pthread_mutex_init(&list->lock, NULL);
        pthread_cond_init(&list->changed, NULL);
    }
    return list;
}

static struct sampling *find(const struct sampling_list *list, const char *uuid)
{
    struct sampling *sampling = list->first;
    while (sampling && strcmp(sampling->uuid, uuid) != 0) {
        sampling = sampling->next;
    }
    return sampling;
}

/* Locked: whether a look at the VM may begin now. */
static int may_begin(struct agent *agent, const char *uuid, bool claimed, struct error *err)
{
    struct vm now;
    if (find(agent->samplings, uuid)) {
        return error_set(err, EBUSY, "another forecast of this VM is being made");
    }
    if (claimed) {
        return 0;
    }
    int result = inventory_find(agent->inventory, uuid, &now, err);
    if (result == 0 && now.state != VM_STATE_RUNNING) {
        result = error_set(err, EBUSY, "VM %s is %s", now.config.name, vm_state_name(now.state));
    }
    return result;
}

static int enter(struct agent *agent, struct sampling *sampling, bool claimed, struct error *err)
{
    struct sampling_list *list = agent->samplings;
    pthread_mutex_lock(&list->lock);
    int result = may_begin(agent, sampling->uuid, claimed, err);
    if (result == 0) {
        sampling->list = list;
        sampling->next = list->first;
        list->first = sampling;
    }
    pthread_mutex_unlock(&list->lock);
    return result;
}

static void leave(struct sampling *sampling)
{
    struct sampling_list *list = sampling->list;
    pthread_mutex_lock(&list->lock);
    struct sampling **at = &list->first;
    while (*at != sampling) {
        at = &(*at)->next;
    }
    *at = sampling->next;
    pthread_cond_broadcast(&list->changed);
    pthread_mutex_unlock(&list->lock);
}

static bool is_unwanted(struct sampling *sampling)
{
    pthread_mutex_lock(&sampling->list->lock);
    bool unwanted = sampling->unwanted;
    pthread_mutex_unlock(&sampling->list->lock);
    return unwanted;
}

void sampling_drive_out(struct agent *agent, const char *uuid)
{
    struct sampling_list *list = agent->samplings;
    struct sampling *sampling;
    pthread_mutex_lock(&list->lock);
    while ((sampling = find(list, uuid))) {
        sampling->unwanted = true;
        pthread_cond_wait(&list->changed, &list->lock);
    }
    pthread_mutex_unlock(&list->lock);
}

/* ---- the mover ---- */

static int start(struct agent *agent, const struct vm *vm, struct sampling *sampling,
                 struct error *err)
{
    struct mover_setup *setup = &sampling->setup;
    CLEANUP_FREE char *log = record_log_path(agent->config, vm->config.name, "mover");
    if (!log) {
        return error_set_errno(err, ENOMEM, "cannot start the mover");
    }
    snprintf(setup->vm_name, sizeof(setup->vm_name), "%s", vm->config.name);
    int result = descriptors_open_tracking(agent, vm, setup, err);
    if (result < 0) {
        return result;
    }
    result = mover_start_sample(setup, agent->mover_program, log, launch_mover_uid(agent, vm),
                                &sampling->mover, &sampling->connection, err);
    if (result < 0) {
        descriptors_close(setup);
    }
    return result;
}

int sampling_begin(struct agent *agent, const struct vm *vm, bool claimed, uint64_t duration_ns,
                   struct sampling **ret_sampling, struct error *err)
{
    CLEANUP_FREE struct sampling *sampling = calloc(1, sizeof(*sampling));
    if (!sampling) {
        return error_set_errno(err, ENOMEM, "cannot look at VM %s", vm->config.name);
    }
    snprintf(sampling->uuid, sizeof(sampling->uuid), "%s", vm->config.uuid);
    sampling->setup.role = MOVER_ROLE_SAMPLE;
    sampling->setup.sample_ns = duration_ns;
    sampling->deadline_ns = clock_monotonic_ns() + duration_ns + PATIENCE_NS;
    int result = enter(agent, sampling, claimed, err);
    if (result < 0) {
        return result;
    }
    result = start(agent, vm, sampling, err);
    if (result < 0) {
        leave(sampling);
        return result;
    }
    *ret_sampling = steal_pointer(&sampling);
    return 0;
}

/* Its one line. */
static int receive(struct sampling *sampling, json_t **ret_event, struct error *err)
{
    CLEANUP_BUFFER struct buffer input = {0};
    while (clock_monotonic_ns() < sampling->deadline_ns) {
        if (is_unwanted(sampling)) {
            return error_set(err, ECANCELED, "a move of the VM began meanwhile");
        }
        int ready = socket_wait_readable(sampling->connection, POLL_NS);
        if (ready < 0) {
            return error_set_errno(err, ready, "cannot wait for the mover");
        }
        if (ready > 0 && line_receive(sampling->connection, &input, NULL) < 0) {
            return error_set(err, EIO, "the mover that looked at the VM (process %d) died",
                             (int)sampling->mover.pid);
        }
        int taken = line_take(&input, ret_event, err);
        if (taken != 0) {
            return taken < 0 ? taken : 0;
        }
    }
    return error_set(err, ETIMEDOUT, "the mover that looked at the VM did not answer");
}

static int take_answer(struct sampling *sampling, struct engine_sample *ret_sample,
                       struct error *err)
{
    CLEANUP_JSON json_t *event = NULL;
    int result = receive(sampling, &event, err);
    return result < 0 ? result : sample_decode(event, ret_sample, err);
}

/* The mover untracks the guest before it answers. One that did not get that far leaves each first
 * write to a page a microsecond longer, for ever. */
static void untrack(const struct mover_setup *setup)
{
    struct engine_tracker tracker = {.userfaultfd = setup->userfaultfd,
                                     .address = setup->memory_address,
                                     .memory_size = setup->memory_size};
    engine_tracker_stop(&tracker);
}

int sampling_end(struct sampling *sampling, bool hurry, struct engine_sample *ret_sample,
                 struct error *err)
{
    struct error after = ERROR_NONE;
    if (hurry) {
        uint64_t soon_ns = clock_monotonic_ns() + HURRY_NS;
        sampling->deadline_ns = soon_ns < sampling->deadline_ns ? soon_ns : sampling->deadline_ns;
        shutdown(sampling->connection, SHUT_WR);
    }
    int result = take_answer(sampling, ret_sample, err);
    if (process_kill(&sampling->mover, &after) < 0) {
        log_error("%s", after.message);
    }
    if (result < 0) {
        untrack(&sampling->setup);
    }
    close_fd(&sampling->connection);
    descriptors_close(&sampling->setup);
    leave(sampling);
    free(sampling);
    return result;
}
