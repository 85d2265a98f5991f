/*
 * Deadlines: until when the machines of a datastore may run on this host.
 *
 * The guard (src/guard) proves on the datastore that this host lives, and after each proof moves
 * the deadline on, in a page of shared memory. Every QEMU of the datastore maps that page and has
 * the kernel kill it when its deadline comes (src/vmm/qemu/preload_deadline.c). The guard is the
 * only one who writes; all others, the users that QEMUs run as included, can only read.
 *
 * The page is a file of one page, RUN_FOLDER/guard/UUID.deadline, UUID being the datastore's. It is
 * never replaced by another one: who maps it, maps it for good. Time is CLOCK_BOOTTIME, which goes
 * on while the host is suspended.
 *
 * That a holder of a lease measures from before the renewal, and others from after they saw it, is
 * from Gray and Cheriton, "Leases: an efficient fault-tolerant mechanism" (1989).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/deadline_page.h"
#include "base/error.h"

/* What a page says at one moment. */
struct deadline_state {
    uint64_t deadline_ns;
    uint64_t lapses;
    uint64_t renewed_ns;
    uint64_t counter;
    int failure;      /* errno of the last attempt to renew; 0: it succeeded */
    char reason[256]; /* of the failure; empty without one */
};

/* The path of a datastore's page, which the caller frees; NULL without memory. */
char *deadline_path(const char *run_folder, const char *datastore_uuid);

/* ---- the guard's side ---- */

/* Opens the page for writing; one that is not there yet is made, with a deadline that has passed.
 * *ret_page stays mapped until deadline_unmap(). */
int deadline_create(const char *path, struct deadline_page **ret_page, struct error *err);

/* A renewal whose write began at `renewed_ns` has succeeded: machines may run until `deadline_ns`.
 * When the deadline before had passed, those that stood under it may not: that is a lapse. */
void deadline_extend(struct deadline_page *page, uint64_t renewed_ns, uint64_t deadline_ns);

/* The last renewal failed; the deadline stays. */
void deadline_fail(struct deadline_page *page, const struct error *reason);

/* ---- everybody's ---- */

/* A read-only descriptor of the page, for QEMU and deadline_map(); -ENOENT when no guard ever
 * watched the datastore. */
int deadline_open(const char *path, struct error *err);

/* Maps an open page, checked, for reading. */
int deadline_map(int fd, const struct deadline_page **ret_page, struct error *err);
void deadline_unmap(const struct deadline_page *page); /* NULL is fine */

/* All of one renewal; after a guard that died while it wrote, what is for people may be of two. */
void deadline_read(const struct deadline_page *page, struct deadline_state *ret_state);

/* Opens, reads and closes. */
int deadline_look(const char *path, struct deadline_state *ret_state, struct error *err);

/* Whether the moment has come. */
bool deadline_has_passed(uint64_t deadline_ns);
