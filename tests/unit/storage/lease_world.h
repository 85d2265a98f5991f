/*
 * A datastore with leases of one kind, and hosts that use it: what the conformance tests run in.
 * The test program is told the kind by its argument. The datastore is a folder that is seen through
 * a bind mount, in a mount namespace of the program's own, so that it can vanish, become read-only,
 * or become another one; it is on a small tmpfs, so that it can be filled.
 */
#pragma once

#include "test.h"

#include "storage/heartbeat.h"
#include "storage/lease.h"

#define WORLD_HOSTS                                                               \
    2 /* each with what its kind of lease wants; tests spread processes over them \
       */

enum lease_kind world_kind(void);

/* For each test: a VM named web1, without epochs. */
int world_setup(void **state);
int world_teardown(void **state);

/* The datastore, and the path that is the bind mount. */
const struct datastore *world_datastore(void);

/* From now on this process, and those that it starts, are on that host (1 to WORLD_HOSTS). A
 * process that has used a lease of kind sanlock stays where it is: libsanlock asks once only. */
void world_be_host(int number);

/* lease_advance() of web1, by a process of its own on that host. */
int world_advance(int number, uint64_t after, const char *host);

/* Of kind sanlock: each host has a daemon, which has joined the lockspace as host hN. */
void world_start_daemon(int number);
void world_kill_daemon(int number);

/* Has this process, on that host, renew until it succeeds, for a minute at most. */
struct renewal *world_renewal(int number);

/* What may befall a datastore; world_restore() undoes all of it. */
void world_unmount(void);     /* the empty folder below the mount shows */
void world_mount_other(void); /* another datastore is there instead */
void world_make_readonly(void);
void world_fill(void); /* no byte is free */
void world_restore(void);

/* Replaces "lease" in the datastore's marker. */
void world_change_settings(const char *lease);

/* Writes, removes a file of the datastore, by its relative path. */
void world_write(const char *name, const void *bytes, size_t length);
void world_remove(const char *name);

/* The lease of web1; fails the test when it cannot be read. */
struct lease world_read(void);

#define world_test(function) cmocka_unit_test_setup_teardown(function, world_setup, world_teardown)

/* Takes the kind from the program's arguments, makes the world and runs the tests in it. Where it
 * cannot be, every test is skipped with the reason. main()'s result. */
#define world_run(tests, argc, argv) \
    world_run_tests(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv)
int world_run_tests(const struct CMUnitTest *tests, size_t count, int argc, char **argv);
