/* A host's datastores: see guard.h. */
#include "guard/guard.h"

#include <string.h>

#include "base/clock.h"
#include "base/deadline.h"
#include "base/log.h"
#include "guard/machines.h"

#define END_INTERVAL_NS (10 * NANOSECONDS_PER_MILLISECOND)

/* ---- what is wanted ---- */

static bool is_same(const struct instructions_datastore *one,
                    const struct instructions_datastore *other)
{
    return strcmp(one->uuid, other->uuid) == 0 && strcmp(one->path, other->path) == 0 &&
           strcmp(one->name, other->name) == 0;
}

static bool is_wanted(const struct guard *guard, const struct keeper *keeper)
{
    for (size_t i = 0; i < guard->instructions.datastore_count; i++) {
        if (is_same(&guard->instructions.datastores[i], keeper_datastore(keeper))) {
            return true;
        }
    }
    return false;
}

static bool is_kept(const struct guard *guard, const struct instructions_datastore *datastore)
{
    for (size_t i = 0; i < guard->count; i++) {
        if (!guard->ending[i] && is_same(keeper_datastore(guard->keepers[i]), datastore)) {
            return true;
        }
    }
    return false;
}

static void keep(struct guard *guard, const struct instructions_datastore *datastore)
{
    struct error err = ERROR_NONE;
    if (guard->count == GUARD_KEEPERS_MOST) {
        log_error("datastore %s: too many datastores hang", datastore->name);
    } else if (keeper_start(guard->run_folder, &guard->instructions, datastore,
                            &guard->keepers[guard->count], &err) < 0) {
        log_error("%s", err.message);
    } else {
        guard->ending[guard->count++] = false;
    }
}

/* A host that is called otherwise now beats under its new name from its next start on. */
static void check_name(const struct guard *guard, const struct instructions *read)
{
    if (guard->instructions.host[0] && strcmp(guard->instructions.host, read->host) != 0) {
        log_warning("this host is called %s now: restart drover-guard when no machine runs here",
                    read->host);
    }
}

void guard_follow_instructions(struct guard *guard)
{
    struct instructions read;
    struct error err = ERROR_NONE;
    int result = instructions_load(guard->run_folder, &read, &err);
    if (result < 0) {
        if (result != -ENOENT) {
            log_error("%s", err.message);
        }
        return;
    }
    check_name(guard, &read);
    guard->instructions = read;
    for (size_t i = 0; i < read.datastore_count; i++) {
        if (!is_kept(guard, &read.datastores[i])) {
            keep(guard, &read.datastores[i]);
        }
    }
}

/* ---- what is wanted no more ---- */

/* Another keeper has the same datastore under another name or path: its page is the same. */
static bool has_successor(const struct guard *guard, size_t index)
{
    const char *uuid = keeper_datastore(guard->keepers[index])->uuid;
    for (size_t i = 0; i < guard->count; i++) {
        if (i != index && !guard->ending[i] &&
            strcmp(keeper_datastore(guard->keepers[i])->uuid, uuid) == 0) {
            return true;
        }
    }
    return false;
}

static void end_unwanted(struct guard *guard, size_t index)
{
    struct keeper *keeper = guard->keepers[index];
    if (guard->ending[index] || is_wanted(guard, keeper)) {
        return;
    }
    if (has_successor(guard, index) ||
        machines_count(guard->run_folder, keeper_datastore(keeper)->uuid) == 0) {
        log_info("datastore %s at %s is watched no more", keeper_datastore(keeper)->name,
                 keeper_datastore(keeper)->path);
        keeper_end(keeper);
        guard->ending[index] = true;
    }
}

static void drop_ended(struct guard *guard)
{
    size_t kept = 0;
    for (size_t i = 0; i < guard->count; i++) {
        if (guard->ending[i] && keeper_has_ended(guard->keepers[i])) {
            keeper_free(guard->keepers[i]);
        } else {
            guard->ending[kept] = guard->ending[i];
            guard->keepers[kept++] = guard->keepers[i];
        }
    }
    guard->count = kept;
}

/* ---- the duty ---- */

size_t guard_enforce(struct guard *guard)
{
    size_t outlived = 0;
    for (size_t i = 0; i < guard->count; i++) {
        end_unwanted(guard, i);
        outlived += guard->ending[i] ? 0 : keeper_enforce(guard->keepers[i]);
    }
    drop_ended(guard);
    return outlived;
}

uint64_t guard_next_deadline(struct guard *guard)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < guard->count; i++) {
        uint64_t deadline = keeper_deadline(guard->keepers[i]);
        if (!deadline_has_passed(deadline) && deadline < next) {
            next = deadline;
        }
    }
    return next;
}

uint64_t guard_margin_ns(struct guard *guard)
{
    uint64_t shortest = 0;
    for (size_t i = 0; i < guard->count; i++) {
        uint64_t margin = keeper_margin_ns(guard->keepers[i]);
        if (margin > 0 && (shortest == 0 || margin < shortest)) {
            shortest = margin;
        }
    }
    return shortest;
}

void guard_end(struct guard *guard, uint64_t patience_ns)
{
    uint64_t limit = clock_monotonic_ns() + patience_ns;
    for (size_t i = 0; i < guard->count; i++) {
        keeper_end(guard->keepers[i]);
        guard->ending[i] = true;
    }
    for (drop_ended(guard); guard->count > 0 && clock_monotonic_ns() < limit; drop_ended(guard)) {
        clock_sleep_ns(END_INTERVAL_NS);
    }
}
