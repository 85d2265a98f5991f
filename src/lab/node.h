/*
 * Nodes from outside: started, entered, switched off. A node is its init; whoever starts one holds
 * a line to it, and until the node is released it dies with that line. So an `up` that is
 * interrupted, however hard, takes all its nodes with it.
 */
#pragma once

#include "lab/registry.h"

/* What a host's init runs; empty in a lab without agents. */
struct lab_programs {
    char agent[LAB_PATH_SIZE];
    char guard[LAB_PATH_SIZE];
};

/* Starts a node's init in namespaces of its own and waits until the node is ready (its folders
 * mounted, loopback up). `programs` (may be NULL) are what it runs when told to. Fills node->init
 * and returns the line. */
int node_start(const struct lab *lab, struct lab_node *node, const struct lab_programs *programs,
               struct error *err);

/* From now on the node lives without the line, which is closed. */
int node_release(const struct lab_node *node, int line, struct error *err);

/* Kills a node with all in it. Idempotent. */
int node_kill(struct lab_node *node, struct error *err);

/* Enters a node's namespaces for good: `namespaces` is a set of CLONE_NEW... bits; the process
 * namespace applies to children only. */
int node_enter(const struct lab_node *node, int namespaces, struct error *err);

/* The caller's network namespace is the node's until it is left again. */
int node_visit_network(const struct lab_node *node, int *ret_home, struct error *err);
void node_leave_network(const int *home);
#define CLEANUP_VISIT __attribute__((cleanup(node_leave_network)))

/* A descriptor of the node's network namespace. */
int node_open_network(const struct lab_node *node, struct error *err);

/* Path of the node's init's socket. */
void node_control_path(const struct lab *lab, const struct lab_node *node,
                       char ret_path[LAB_PATH_SIZE]);
