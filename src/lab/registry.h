/*
 * What is known about labs between two commands: a folder each below /run/drover-lab, whose
 * lab.json says which processes are its nodes. The folder itself is the lock (flock): two commands
 * never change one lab at once.
 */
#pragma once

#include <stdbool.h>

#include "lab/topology.h"

#define LAB_CONTROL_ROOT "/run/drover-lab"
#define LAB_NAME_MOST 32
#define LAB_PATH_SIZE 256

enum lab_state {
    LAB_STARTING, /* being built, or what an interrupted up left behind */
    LAB_UP,
};

struct lab {
    char name[LAB_NAME_MOST + 1];
    char folder[LAB_PATH_SIZE]; /* its files */
    enum lab_state state;
    bool agents;                 /* hosts run droverd */
    unsigned migration_networks; /* 1 or 2 */
    uint64_t datastore_bytes;    /* of the shared datastore; 0: as much as the machine has */
    size_t node_count;
    struct lab_node nodes[LAB_NODES_MOST];
    int lock; /* the control folder, held; -1 for a lab that is only looked at */
};

/* Opens and locks a lab's control folder, waiting for other commands to finish; makes it (and the
 * folders that nodes mount upon) with `create`. A lab that is not there: -ENOENT, naming those that
 * are. A new or interrupted lab is in LAB_STARTING. */
int registry_open(const char *name, bool create, struct lab *ret_lab, struct error *err);

/* Looks without locking: for commands that change nothing. Only labs that are up. */
int registry_look(const char *name, struct lab *ret_lab, struct error *err);

/* Writes lab.json. */
int registry_save(const struct lab *lab, struct error *err);

/* Forgets the lab; with the last one goes everything that registry_open() made. */
int registry_remove(struct lab *lab, struct error *err);

/* Releases the lock. */
void registry_close(struct lab *lab);
#define CLEANUP_LAB __attribute__((cleanup(registry_close)))

/* The node of that name; an error that lists those there are. `hosts_only`: not client or switch.
 */
struct lab_node *registry_find_node(struct lab *lab, const char *name, bool hosts_only,
                                    struct error *err);
