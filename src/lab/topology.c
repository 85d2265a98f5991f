/* The lab's plan: see topology.h. */
#include "lab/topology.h"

#include <stdio.h>
#include <string.h>

const struct lab_network_plan lab_networks[LAB_NETWORKS] = {
    [LAB_NETWORK_VM] = {"vm", "vm0", "vm", LAB_VM_BRIDGE, 1500},
    [LAB_NETWORK_MIGRATION] = {"migration", "mig0", "mig", "br-mig", 9000},
    [LAB_NETWORK_MANAGEMENT] = {"management", "mgmt0", "mgmt", "br-mgmt", 1500},
    [LAB_NETWORK_MIGRATION_2] = {"migration2", "mig1", "mig2", "br-mig2", 9000},
};

#define CLIENT_VM_ADDRESS "10.77.0.1"
#define CLIENT_MANAGEMENT_ADDRESS "10.79.0.254"

int lab_network_find(const char *name, enum lab_network *ret_network, struct error *err)
{
    for (int i = 0; i < LAB_NETWORKS; i++) {
        if (strcmp(lab_networks[i].name, name) == 0) {
            *ret_network = (enum lab_network)i;
            return 0;
        }
    }
    error_set(err, EINVAL, "a lab has no network named \"%s\"", name);
    return error_remedy(err, "choose vm, migration, migration2 or management");
}

void lab_node_plan(size_t index, unsigned migration_networks, struct lab_node *ret_node)
{
    *ret_node = (struct lab_node){.migration_networks = migration_networks};
    if (index == 0) {
        ret_node->kind = LAB_NODE_SWITCH;
        strcpy(ret_node->name, "switch");
    } else if (index == 1) {
        ret_node->kind = LAB_NODE_CLIENT;
        strcpy(ret_node->name, "client");
    } else {
        ret_node->kind = LAB_NODE_HOST;
        ret_node->number = (unsigned)index - 1;
        snprintf(ret_node->name, sizeof(ret_node->name), "h%u", ret_node->number);
    }
}

bool lab_node_is_on(const struct lab_node *node, enum lab_network network)
{
    if (node->kind == LAB_NODE_HOST) {
        return network != LAB_NETWORK_MIGRATION_2 || node->migration_networks > 1;
    }
    return node->kind == LAB_NODE_CLIENT &&
           (network == LAB_NETWORK_VM || network == LAB_NETWORK_MANAGEMENT);
}

bool lab_node_address(const struct lab_node *node, enum lab_network network,
                      char ret_address[LAB_ADDRESS_SIZE])
{
    static const int subnets[LAB_NETWORKS] = {[LAB_NETWORK_MIGRATION] = 78,
                                              [LAB_NETWORK_MANAGEMENT] = 79,
                                              [LAB_NETWORK_MIGRATION_2] = 80};
    ret_address[0] = '\0';
    if (!lab_node_is_on(node, network)) {
        return false;
    }
    if (node->kind == LAB_NODE_CLIENT) {
        snprintf(ret_address, LAB_ADDRESS_SIZE, "%s",
                 network == LAB_NETWORK_VM ? CLIENT_VM_ADDRESS : CLIENT_MANAGEMENT_ADDRESS);
    } else if (network != LAB_NETWORK_VM) { /* there only the guests have addresses */
        snprintf(ret_address, LAB_ADDRESS_SIZE, "10.%d.0.%u", subnets[network], node->number);
    }
    return ret_address[0] != '\0';
}

/* Locally administered; the client is number 0. */
void lab_node_mac(const struct lab_node *node, enum lab_network network, uint8_t ret_mac[6])
{
    const uint8_t mac[] = {0x02, 0xd0, 0x7e, 0x00, (uint8_t)network, (uint8_t)node->number};
    memcpy(ret_mac, mac, sizeof(mac));
}

void lab_switch_port(const struct lab_node *node, enum lab_network network, char ret_name[16])
{
    snprintf(ret_name, 16, "%s-%s", node->name, lab_networks[network].suffix);
}
