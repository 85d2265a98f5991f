/* The lab's cables: see wiring.h. */
#include "lab/wiring.h"

#include "base/cleanup.h"
#include "lab/node.h"
#include "net/bridge.h"
#include "net/link.h"

/* By the plan, the first node. */
static const struct lab_node *switch_of(const struct lab *lab)
{
    return &lab->nodes[0];
}

int wiring_prepare_switch(const struct lab *lab, struct error *err)
{
    CLEANUP_VISIT int home = -1;
    int result = node_visit_network(switch_of(lab), &home, err);
    for (int i = 0; result == 0 && i < LAB_NETWORKS; i++) {
        if (i != LAB_NETWORK_MIGRATION_2 || lab->migration_networks > 1) {
            result = bridge_ensure(lab_networks[i].bridge, NULL, err);
        }
    }
    return result;
}

/* A host's port of the VM network carries tags, the client's is in the VMs' VLAN. */
static int plug_in(const struct lab_node *node, enum lab_network network, const char *port,
                   struct error *err)
{
    const struct port_group client_group = {
        .name = "client", .bridge = LAB_VM_BRIDGE, .vlan = LAB_VLAN_VM};
    if (network != LAB_NETWORK_VM) {
        return bridge_ensure(lab_networks[network].bridge, port, err);
    }
    if (node->kind == LAB_NODE_CLIENT) {
        int result = bridge_attach(&client_group, port, err);
        return result < 0 ? result : link_set_up(port, true, err);
    }
    int result = bridge_ensure(LAB_VM_BRIDGE, port, err);
    if (result == 0) {
        result = bridge_allow_vlan(port, LAB_VLAN_VM, err);
    }
    return result < 0 ? result : bridge_allow_vlan(port, LAB_VLAN_ISOLATED, err);
}

/* From the switch's side: the cable, one end in the node. */
static int lay_cable(const struct lab *lab, const struct lab_node *node, enum lab_network network,
                     struct error *err)
{
    char port[LINK_NAME_SIZE];
    CLEANUP_VISIT int home = -1;
    CLEANUP_CLOSE int node_network = node_open_network(node, err);
    if (node_network < 0) {
        return node_network;
    }
    int result = node_visit_network(switch_of(lab), &home, err);
    if (result < 0) {
        return result;
    }
    uint8_t mac[6];
    lab_node_mac(node, network, mac);
    lab_switch_port(node, network, port);
    /* A node that was switched off a moment ago keeps its cable until the kernel has cleared up. */
    result = link_remove(port, err);
    if (result < 0) {
        return result;
    }
    const struct link_end one = {port, -1, NULL};
    const struct link_end other = {lab_networks[network].link, node_network, mac};
    result = link_add_veth(&one, &other, lab_networks[network].mtu, err);
    if (result < 0) {
        return result;
    }
    link_disable_ipv6(port);
    return plug_in(node, network, port, err);
}

static int set_up_link(const struct lab_node *node, enum lab_network network, struct error *err)
{
    char address[LAB_ADDRESS_SIZE];
    const char *link = lab_networks[network].link;
    CLEANUP_VISIT int home = -1;
    int result = node_visit_network(node, &home, err);
    if (result < 0) {
        return result;
    }
    link_disable_ipv6(link);
    if (lab_node_address(node, network, address)) {
        result = link_add_address(link, address, LAB_PREFIX, err);
    }
    return result < 0 ? result : link_set_up(link, true, err);
}

int wiring_connect(const struct lab *lab, const struct lab_node *node, struct error *err)
{
    int result = 0;
    for (int i = 0; result == 0 && i < LAB_NETWORKS; i++) {
        if (lab_node_is_on(node, (enum lab_network)i)) {
            result = lay_cable(lab, node, (enum lab_network)i, err);
            if (result == 0) {
                result = set_up_link(node, (enum lab_network)i, err);
            }
        }
    }
    return result < 0 ? error_wrap(err, "node %s", node->name) : 0;
}

int wiring_set_link(const struct lab *lab, const struct lab_node *node, enum lab_network network,
                    bool up, struct error *err)
{
    char port[LINK_NAME_SIZE];
    CLEANUP_VISIT int home = -1;
    int result = node_visit_network(switch_of(lab), &home, err);
    if (result < 0) {
        return result;
    }
    lab_switch_port(node, network, port);
    return link_set_up(port, up, err);
}

static int limit_end(const struct lab_node *node, const char *link, uint64_t bytes_per_second,
                     struct error *err)
{
    CLEANUP_VISIT int home = -1;
    int result = node_visit_network(node, &home, err);
    return result < 0 ? result : link_limit_rate(link, bytes_per_second, err);
}

int wiring_limit_rate(const struct lab *lab, const struct lab_node *node, enum lab_network network,
                      uint64_t bytes_per_second, struct error *err)
{
    char port[LINK_NAME_SIZE];
    lab_switch_port(node, network, port);
    int result = limit_end(switch_of(lab), port, bytes_per_second, err);
    return result < 0 ? result : limit_end(node, lab_networks[network].link, bytes_per_second, err);
}
