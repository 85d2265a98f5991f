/* What a lab consists of: names and addresses, all of which follow from the number of hosts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"

#define LAB_HOSTS_MOST 64
#define LAB_NODES_MOST (LAB_HOSTS_MOST + 2) /* and the switch, and the client */
#define LAB_NODE_NAME_SIZE 8
#define LAB_MIGRATION_NETWORKS_MOST 2
#define LAB_ADDRESS_SIZE 16
#define LAB_PREFIX 24
#define LAB_API_PORT 7790
#define LAB_VM_BRIDGE "br-vm"
#define LAB_VLAN_VM 10
#define LAB_VLAN_ISOLATED 20

enum lab_network {
    LAB_NETWORK_VM,
    LAB_NETWORK_MIGRATION,
    LAB_NETWORK_MANAGEMENT,
    LAB_NETWORK_MIGRATION_2, /* in labs that have one */
    LAB_NETWORKS,
};

struct lab_network_plan {
    const char *name;   /* as users say: "migration" */
    const char *link;   /* in hosts and client: "mig0" */
    const char *suffix; /* of the switch's port: "h1-mig" */
    const char *bridge; /* in the switch */
    unsigned mtu;
};

extern const struct lab_network_plan lab_networks[LAB_NETWORKS];

/* -EINVAL for an unknown name. */
int lab_network_find(const char *name, enum lab_network *ret_network, struct error *err);

enum lab_node_kind { LAB_NODE_SWITCH, LAB_NODE_CLIENT, LAB_NODE_HOST };

struct lab_node {
    enum lab_node_kind kind;
    unsigned number;             /* of a host, from 1 */
    unsigned migration_networks; /* that a host is on: 1 or 2 */
    char name[LAB_NODE_NAME_SIZE];
    struct process_identity init; /* pid 0: switched off */
};

/* Fills node `index` of a lab: the switch first, then the client, then the hosts, which are on so
 * many migration networks. */
void lab_node_plan(size_t index, unsigned migration_networks, struct lab_node *ret_node);

/* The node's address on a network; false when it has none there. */
bool lab_node_address(const struct lab_node *node, enum lab_network network,
                      char ret_address[LAB_ADDRESS_SIZE]);

/* The MAC of the node's link to a network: the same after it was switched off and on. */
void lab_node_mac(const struct lab_node *node, enum lab_network network, uint8_t ret_mac[6]);

/* Whether a cable leads from the node to that network. */
bool lab_node_is_on(const struct lab_node *node, enum lab_network network);

/* The name of the switch's port to which that cable leads. */
void lab_switch_port(const struct lab_node *node, enum lab_network network, char ret_name[16]);
