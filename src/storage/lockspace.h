/*
 * The sanlock lockspace of a datastore: DATASTORE/.drover/lockspace, one sector for each host's
 * number. A host's number is taken once, for ever, by creating DATASTORE/.drover/numbers/N.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "storage/beat.h"

#define LOCKSPACE_HOSTS_MOST 2000

/* The area of a lockspace, or a resource: 2,000 hosts in sectors of 512 bytes. */
#define LOCKSPACE_AREA_SIZE ((size_t)1 << 20)

/* What sanlock's own numbers mean: a negative errno with err filled, "cannot VERB: reason". */
int lockspace_error(int sanlock_result, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The host's number; `take` gives it one when it has none, else -ENOENT. `root`: the datastore's
 * open folder. */
int lockspace_number(const struct datastore *datastore, int root, const char *host, bool take,
                     unsigned *ret_number, struct error *err);

/* The hosts that have numbers: calls `visit` for each; its negative result ends the walk. */
typedef int lockspace_visit(void *context, unsigned number, const char *host, struct error *err);
int lockspace_each_host(const struct datastore *datastore, int root, lockspace_visit *visit,
                        void *context, struct error *err);

/* Whether this host's daemon is in the lockspace under that number: 0; -EAGAIN while it is joining,
 * -ENOENT when it is not. */
int lockspace_check(const struct datastore *datastore, unsigned number, struct error *err);

/* Has the daemon begin to join, making the lockspace if there is none. */
int lockspace_join(const struct datastore *datastore, int root, unsigned number, struct error *err);

/* The sector of a number. Whatever is in it, its daemon rewrites it to renew. */
int lockspace_read(const struct datastore *datastore, int root, unsigned number,
                   struct beat *ret_beat, struct error *err);

/* Opens for reading or writing past the page cache, where the file system can. */
int lockspace_open_direct(const struct datastore *datastore, int folder, const char *path,
                          int flags, struct error *err);
